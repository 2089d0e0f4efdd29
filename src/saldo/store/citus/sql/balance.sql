-- On Citus: balance_2, run on the worker that stores the user's shard.
CREATE FUNCTION saldo.balance_on_shard_2(
    _shard smallint,
    _user_id bigint,
    _date timestamptz,
    _known_at timestamptz,
    OUT balance numeric,
    OUT known_too_new boolean
)
LANGUAGE plpgsql VOLATILE -- for a new snapshot after the lock
SET enable_seqscan = off
SET jit = off
SET search_path = pg_catalog
SET timezone = 'UTC'
AS $$
DECLARE
    bound interval;
    last_number bigint;
    base_number bigint;
    base bigint;
    late numeric;
BEGIN
    -- An answer never changes only if nothing can still be recorded at or before _known_at. That the clocks of the workers
    -- are not put back is taken for granted here; balance_2 sees to it.
    known_too_new := coalesce(_known_at >= clock_timestamp(), false);
    IF known_too_new THEN
        RETURN;
    END IF;
    IF _known_at IS NOT NULL THEN
        -- A batch that holds the shard's lock may have read its clock before _known_at.
        PERFORM pg_advisory_xact_lock_shared('saldo.transactions'::regclass::oid::bigint << 6 | _shard);
    END IF;

    SELECT t.number, l.lateness_bound INTO last_number, bound
    FROM saldo.ledger AS l
    CROSS JOIN saldo.transactions AS t
    WHERE l.only_row AND t.shard = _shard AND t.user_id = _user_id ORDER BY t.number DESC LIMIT 1;
    IF last_number IS NULL THEN
        RETURN;
    END IF;
    IF _known_at IS NOT NULL THEN
        last_number := saldo.number_known_on_shard_1(_shard, _user_id, _known_at, last_number);
        IF last_number < 0 THEN
            balance := 0; -- nothing was known of this user yet
            RETURN;
        END IF;
    END IF;

    -- Without late entries the balance stands in one entry; each late one in force adds its amount.
    base_number := last_number;
    IF _date IS NOT NULL THEN
        base_number := saldo.number_at_on_shard_1(_shard, _user_id, _date, last_number);
        SELECT sum(t.amount) INTO late
        FROM saldo.transactions AS t
        WHERE t.shard = _shard
            AND t.user_id = _user_id
            AND t.outcome = 0
            AND t."timestamp" < t.horizon
            AND t."timestamp" <= _date
            AND t.horizon > _date
            AND t.horizon <= coalesce(_date + bound, 'infinity')
            AND t.number <= last_number;
    END IF;
    SELECT t.balance INTO STRICT base
    FROM saldo.transactions AS t WHERE t.shard = _shard AND t.user_id = _user_id AND t.number = base_number;
    balance := base + coalesce(late, 0);
END
$$;
SELECT create_distributed_function(
    'saldo.balance_on_shard_2(smallint, bigint, timestamptz, timestamptz)', '_shard', colocate_with := 'saldo.transactions'
);

-- The balances of a user at several times, in their order.
CREATE FUNCTION saldo.balances_on_shard_2(
    _shard smallint, _user_id bigint, _moments timestamptz[], OUT moments timestamptz[], OUT balances numeric[]
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog
SET timezone = 'UTC'
AS $$
BEGIN
    SELECT array_agg(m.moment ORDER BY m.moment),
        array_agg((saldo.balance_on_shard_2(_shard, _user_id, m.moment, NULL)).balance ORDER BY m.moment)
    INTO moments, balances
    FROM unnest(_moments) AS m(moment);
END
$$;
SELECT create_distributed_function(
    'saldo.balances_on_shard_2(smallint, bigint, timestamptz[])', '_shard', colocate_with := 'saldo.transactions'
);
