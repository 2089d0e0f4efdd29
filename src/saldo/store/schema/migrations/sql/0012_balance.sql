-- balance_2: the balance at a moment (inclusive), as known at a moment (inclusive). numeric, because the maximum is a
-- rule about the balance of now: a balance of the past may be above it, and above a bigint.
-- _date null: everything counts. _known_at null: all that is recorded counts.
-- balance is null: no such user. known_too_new: _known_at is not in the past.
CREATE FUNCTION saldo.balance_2(
    _user_id bigint,
    _date timestamptz,
    _known_at timestamptz,
    OUT balance numeric,
    OUT known_too_new boolean
)
LANGUAGE plpgsql VOLATILE -- for a new snapshot after the lock
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
SET search_path = pg_catalog
-- A day has 24 hours, whatever the zone of the role, the session or the server.
SET timezone = 'UTC'
AS $$
DECLARE
    bound interval;
    known_until timestamptz;
    last_number bigint;
    base_number bigint;
    base bigint;
    late numeric;
    head timestamptz;
BEGIN
    known_too_new := false;
    -- A replica is asked only when the primary knows that nothing can follow (sql/place_of_user.sql).
    IF _known_at IS NOT NULL AND NOT pg_is_in_recovery() THEN
        SELECT t.recorded_at INTO head
        FROM saldo.transactions AS t WHERE t.shard = _user_id & 63 ORDER BY t.seq DESC LIMIT 1;
        IF head IS NULL OR head <= _known_at THEN
            -- An answer never changes only if nothing can still be recorded at or before _known_at: the clock must have
            -- passed it, and if the clock is put back, the entries to come must still be after it.
            SELECT l.known_until INTO STRICT known_until FROM saldo.ledger AS l WHERE l.only_row;
            IF known_until IS NULL OR known_until < _known_at THEN
                known_too_new := _known_at >= clock_timestamp();
                IF known_too_new THEN
                    RETURN;
                END IF;
            END IF;
            -- A batch that holds the shard's lock may have read its clock, and known_until, before this.
            PERFORM pg_advisory_xact_lock_shared(
                'saldo.transactions'::regclass::oid::bigint << 6 | (_user_id & 63));
            IF known_until IS NULL OR known_until < _known_at THEN
                -- Durable like an entry (see sql/post.sql), because the answer rests on it. A second more than is asked, so
                -- that questions which follow each other closely don't write each time.
                PERFORM set_config('synchronous_commit',
                    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
                    true);
                UPDATE saldo.ledger AS l
                SET known_until = greatest(l.known_until,
                    least(clock_timestamp(), _known_at + interval '1 second'), _known_at)
                -- Others that ask at the same time wait for one write, and not each for all others with its shard locked.
                WHERE l.only_row AND (l.known_until IS NULL OR l.known_until < _known_at);
            END IF;
        END IF;
    END IF;

    SELECT l.lateness_bound INTO STRICT bound FROM saldo.ledger AS l WHERE l.only_row;
    SELECT t.number INTO last_number
    FROM saldo.transactions AS t WHERE t.user_id = _user_id ORDER BY t.number DESC LIMIT 1;
    IF last_number IS NULL THEN
        RETURN;
    END IF;
    IF _known_at IS NOT NULL THEN
        last_number := saldo.number_known_1(_user_id, _known_at, last_number);
        IF last_number < 0 THEN
            balance := 0; -- nothing was known of this user yet
            RETURN;
        END IF;
    END IF;

    -- Without late entries the balance stands in one entry; each late one in force adds its amount.
    base_number := last_number;
    IF _date IS NOT NULL THEN
        base_number := saldo.number_at_1(_user_id, _date, last_number);
    END IF;
    SELECT t.balance INTO STRICT base
    FROM saldo.transactions AS t WHERE t.user_id = _user_id AND t.number = base_number;
    IF _date IS NOT NULL THEN
        SELECT sum(t.amount) INTO late
        FROM saldo.transactions AS t
        WHERE t.user_id = _user_id
            AND t.outcome = 0
            AND t."timestamp" < t.horizon
            AND t."timestamp" <= _date
            AND t.horizon > _date
            AND t.horizon <= coalesce(_date + bound, 'infinity')
            AND t.number <= last_number;
    END IF;
    balance := base + coalesce(late, 0);
END
$$;
