-- Measures the duration of each query in the server, without the network and the client.
CREATE FUNCTION pg_temp.balance_milliseconds(_user_id bigint, _dates timestamptz[], _known_ats timestamptz[])
RETURNS TABLE (milliseconds float)
LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz;
BEGIN
    FOR item IN 1 .. cardinality(_dates) LOOP
        began := clock_timestamp();
        PERFORM saldo.balance_2(_user_id, _dates[item], _known_ats[item]);
        milliseconds := extract(epoch FROM clock_timestamp() - began) * 1000;
        RETURN NEXT;
    END LOOP;
END
$$
