-- On Citus: create a user's opening entry, on the worker that stores the shard.
CREATE FUNCTION saldo.open_user_on_shard_1(_shard smallint, _user_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off
SET search_path = pg_catalog
SET timezone = 'UTC'
AS $$
DECLARE
    head record;
BEGIN
    PERFORM pg_advisory_xact_lock('saldo.transactions'::regclass::oid::bigint << 6 | _shard);
    SELECT coalesce(max(h.seq), 0) + 1 AS seq, greatest(clock_timestamp(), max(h.recorded_at)) AS clock
    INTO head
    FROM (
        SELECT t.seq, t.recorded_at FROM saldo.transactions AS t
        WHERE t.shard = _shard ORDER BY t.seq DESC LIMIT 1
    ) AS h;
    INSERT INTO saldo.transactions (
        seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, shard, kind, outcome
    )
    VALUES (
        head.seq, _user_id, 0, 0, 0, '-infinity', '-infinity', head.clock, gen_random_uuid(), _shard, 0, 0
    );
END
$$;
-- The delegation is forced, because the caller has written to another table before, so that the call is in a
-- transaction with several statements.
SELECT create_distributed_function(
    'saldo.open_user_on_shard_1(smallint, bigint)', '_shard',
    colocate_with := 'saldo.transactions', force_delegation := true
);

-- On Citus: create_user_1, run on the coordinator, which stores the users and assigns their ids.
CREATE FUNCTION saldo.create_user_on_shard_1(
    _name text,
    OUT created boolean,
    OUT id bigint,
    OUT created_at timestamptz
)
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off
SET search_path = pg_catalog
SET timezone = 'UTC'
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'saldo.create_user_on_shard_1 needs READ COMMITTED, not %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state';
    END IF;

    -- Asked before inserting, so that a taken name uses up no id.
    SELECT u.id, u.created_at INTO id, created_at FROM saldo.users AS u WHERE u.name = _name;
    IF NOT FOUND THEN
        INSERT INTO saldo.users AS u (name, created_at) VALUES (_name, clock_timestamp())
        ON CONFLICT (name) DO NOTHING
        RETURNING u.id, u.created_at INTO id, created_at;
        created := FOUND;
        IF created THEN
            PERFORM saldo.open_user_on_shard_1((id & 63)::smallint, id);
            RETURN;
        END IF;
        SELECT u.id, u.created_at INTO STRICT id, created_at FROM saldo.users AS u WHERE u.name = _name;
    END IF;
    created := false;
    -- As in post: the answer rests on an entry that may not have reached the standby yet.
    PERFORM pg_logical_emit_message(true, 'saldo', 'replay');
END
$$;
