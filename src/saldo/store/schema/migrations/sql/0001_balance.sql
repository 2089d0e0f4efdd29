-- number_known_1: the number of the user's last entry with recorded_at <= _known_at, of those
-- numbered up to _last; -1 when not even the opening entry was recorded then.
-- recorded_at never falls along number: binary search.
CREATE FUNCTION saldo.number_known_1(_user_id bigint, _known_at timestamptz, _last bigint) RETURNS bigint
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET search_path = pg_catalog
AS $$
DECLARE
    low bigint := -1;
    high bigint := _last;
    middle bigint;
    found_recorded_at timestamptz;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        SELECT t.recorded_at INTO STRICT found_recorded_at
        FROM saldo.transactions AS t WHERE t.user_id = _user_id AND t.number = middle;
        IF found_recorded_at <= _known_at THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

-- balance_1: the balance at a moment (inclusive), as known at a moment (inclusive).
-- _date null: everything counts. _known_at null: all that is recorded counts.
-- balance is null: no such user. known_too_new: _known_at is not in the past.
CREATE FUNCTION saldo.balance_1(
    _user_id bigint,
    _date timestamptz,
    _known_at timestamptz,
    OUT balance bigint,
    OUT known_too_new boolean
)
LANGUAGE plpgsql VOLATILE -- for a new snapshot after the lock
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
SET search_path = pg_catalog
AS $$
DECLARE
    bound interval;
    last_number bigint;
    base_number bigint;
    base bigint;
    late numeric;
    head timestamptz;
BEGIN
    -- An answer never changes only if nothing can still be recorded at or before _known_at.
    known_too_new := coalesce(_known_at >= clock_timestamp(), false);
    IF known_too_new THEN
        RETURN;
    END IF;
    IF _known_at IS NOT NULL THEN
        SELECT t.recorded_at INTO head
        FROM saldo.transactions AS t WHERE t.shard = _user_id & 63 ORDER BY t.seq DESC LIMIT 1;
        IF head IS NULL OR head <= _known_at THEN
            -- A batch that holds the shard's lock may have read its clock before _known_at.
            PERFORM pg_advisory_xact_lock_shared(
                'saldo.transactions'::regclass::oid::bigint << 6 | (_user_id & 63));
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
