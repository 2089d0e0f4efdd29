-- On Citus: the bounds of a user's list or chart, run on the worker that stores the shard.

-- A user's last number, and the number up to which all entries were recorded by a time (0 if the time is null). The
-- last number is null if the user does not exist.
CREATE FUNCTION saldo.numbers_on_shard_1(
    _shard smallint, _user_id bigint, _known_at timestamptz, OUT last_number bigint, OUT floor_number bigint
)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off
SET search_path = pg_catalog
SET timezone = 'UTC'
AS $$
BEGIN
    SELECT t.number INTO last_number
    FROM saldo.transactions AS t
    WHERE t.shard = _shard AND t.user_id = _user_id ORDER BY t.number DESC LIMIT 1;
    floor_number := CASE
        WHEN last_number IS NULL OR _known_at IS NULL THEN 0
        ELSE greatest(saldo.number_known_on_shard_1(_shard, _user_id, _known_at, last_number), 0)
    END;
END
$$;
SELECT create_distributed_function(
    'saldo.numbers_on_shard_1(smallint, bigint, timestamptz)', '_shard', colocate_with := 'saldo.transactions'
);

-- The statement of charts/number_bounds.sql, run on the worker that stores the shard.
CREATE FUNCTION saldo.chart_bounds_on_shard_1(
    _shard smallint,
    _user_id bigint,
    _since timestamptz,
    _until timestamptz,
    _late_max bigint,
    OUT above bigint,
    OUT last bigint,
    OUT late bigint
)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off
SET search_path = pg_catalog
SET timezone = 'UTC'
AS $$
DECLARE
    head bigint;
BEGIN
    SELECT t.number INTO head
    FROM saldo.transactions AS t
    WHERE t.shard = _shard AND t.user_id = _user_id ORDER BY t.number DESC LIMIT 1;
    IF head IS NULL THEN
        RETURN;
    END IF;
    above := saldo.number_at_on_shard_1(_shard, _user_id, _since, head);
    last := saldo.number_at_on_shard_1(_shard, _user_id, _until, head);
    SELECT count(*) INTO late
    FROM (
        SELECT FROM saldo.transactions AS t
        WHERE t.shard = _shard AND t.user_id = _user_id AND t.outcome = 0 AND t."timestamp" < t.horizon
        ORDER BY t.horizon, t."timestamp" LIMIT _late_max
    ) AS some_of_them;
END
$$;
SELECT create_distributed_function(
    'saldo.chart_bounds_on_shard_1(smallint, bigint, timestamptz, timestamptz, bigint)', '_shard',
    colocate_with := 'saldo.transactions'
);
