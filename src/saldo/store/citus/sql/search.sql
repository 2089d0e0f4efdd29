-- On Citus: the functions number_at_1 and number_known_1 for a user of the shard. Each uses one statement, because on
-- Citus planning takes most of the time.

CREATE FUNCTION saldo.number_at_on_shard_1(_shard smallint, _user_id bigint, _date timestamptz, _last bigint) RETURNS bigint
LANGUAGE plpgsql STABLE
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET search_path = pg_catalog
SET timezone = 'UTC'
AS $$
BEGIN
    RETURN (
        WITH RECURSIVE search AS (
            SELECT 0::bigint AS low, _last AS high
            UNION ALL
            SELECT CASE WHEN middle.horizon <= _date THEN middle.number ELSE s.low END,
                CASE WHEN middle.horizon <= _date THEN s.high ELSE middle.number - 1 END
            FROM search AS s
            JOIN saldo.transactions AS middle
                ON middle.shard = _shard AND middle.user_id = _user_id AND middle.number = (s.low + s.high + 1) / 2
            WHERE s.low < s.high
        )
        SELECT s.low FROM search AS s WHERE s.low = s.high
    );
END
$$;

CREATE FUNCTION saldo.number_known_on_shard_1(
    _shard smallint, _user_id bigint, _known_at timestamptz, _last bigint
) RETURNS bigint
LANGUAGE plpgsql STABLE
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET search_path = pg_catalog
SET timezone = 'UTC'
AS $$
BEGIN
    RETURN (
        WITH RECURSIVE search AS (
            SELECT -1::bigint AS low, _last AS high
            UNION ALL
            SELECT CASE WHEN middle.recorded_at <= _known_at THEN middle.number ELSE s.low END,
                CASE WHEN middle.recorded_at <= _known_at THEN s.high ELSE middle.number - 1 END
            FROM search AS s
            JOIN saldo.transactions AS middle
                ON middle.shard = _shard AND middle.user_id = _user_id AND middle.number = (s.low + s.high + 1) / 2
            WHERE s.low < s.high
        )
        SELECT s.low FROM search AS s WHERE s.low = s.high
    );
END
$$;

SELECT create_distributed_function('saldo.number_at_on_shard_1(smallint, bigint, timestamptz, bigint)');
SELECT create_distributed_function('saldo.number_known_on_shard_1(smallint, bigint, timestamptz, bigint)');
