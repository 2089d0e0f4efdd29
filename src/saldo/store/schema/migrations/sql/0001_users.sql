-- create_user_1: a user and its opening entry, in one call. created is false when the name is
-- taken; id and created_at are then those of the user who has it.
CREATE FUNCTION saldo.create_user_1(
    _name text,
    OUT created boolean,
    OUT id bigint,
    OUT created_at timestamptz
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET search_path = pg_catalog
AS $$
DECLARE
    head record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'saldo.create_user_1 needs READ COMMITTED, not %',
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
        IF NOT created THEN
            SELECT u.id, u.created_at INTO STRICT id, created_at FROM saldo.users AS u WHERE u.name = _name;
        END IF;
    ELSE
        created := false;
    END IF;

    IF NOT created THEN
        -- As in post: the answer rests on an entry that may not have reached the standby yet.
        PERFORM pg_logical_emit_message(true, 'saldo', 'replay');
        RETURN;
    END IF;

    PERFORM pg_advisory_xact_lock('saldo.transactions'::regclass::oid::bigint << 6 | (id & 63));
    SELECT coalesce(max(h.seq), 0) + 1 AS seq, greatest(clock_timestamp(), max(h.recorded_at)) AS clock
    INTO head
    FROM (
        SELECT t.seq, t.recorded_at FROM saldo.transactions AS t
        WHERE t.shard = id & 63 ORDER BY t.seq DESC LIMIT 1
    ) AS h;
    INSERT INTO saldo.transactions (
        seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, shard, kind, outcome
    )
    VALUES (
        head.seq, id, 0, 0, 0, '-infinity', '-infinity', head.clock, gen_random_uuid(), id & 63, 0, 0
    );
END
$$;
