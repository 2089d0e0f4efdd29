-- post_1: decides a batch of deposits and withdrawals and appends what is recorded, in one call.
--
-- The rules are those of saldo.ledger.specification; property tests hold the two together.
-- Named by version, created by a migration, never replaced in place: a changed function breaks
-- the prepared statements of every process that still runs the old code.

-- The number of the user's last entry with horizon <= _date, of those numbered up to _last.
-- horizon never falls along number, and the opening entry's is -infinity: binary search.
CREATE FUNCTION saldo.number_at_1(_user_id bigint, _date timestamptz, _last bigint) RETURNS bigint
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET search_path = pg_catalog
AS $$
DECLARE
    low bigint := 0;
    high bigint := _last;
    middle bigint;
    found_horizon timestamptz;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        SELECT t.horizon INTO STRICT found_horizon
        FROM saldo.transactions AS t WHERE t.user_id = _user_id AND t.number = middle;
        IF found_horizon <= _date THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

-- Arguments: one array element a request, in order of arrival. _amounts: signed minor units.
-- _timestamps: null leaves the moment to the ledger. Results: one element a request, saldo.ledger.model.Decision.
CREATE FUNCTION saldo.post_1(
    _uuids uuid[],
    _user_ids bigint[],
    _amounts bigint[],
    _timestamps timestamptz[],
    _balance_max bigint,
    _future_tolerance interval,
    _late_check_entries_max bigint,
    OUT outcomes smallint[],
    OUT replays boolean[],
    OUT user_ids bigint[],
    OUT numbers bigint[],
    OUT amounts bigint[],
    OUT balances bigint[],
    OUT timestamps timestamptz[],
    OUT horizons timestamptz[],
    OUT recorded_ats timestamptz[]
)
LANGUAGE plpgsql VOLATILE
-- A plan made for a table that was never analysed must still use the indexes, and planning again
-- for each batch costs more than running it.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
SET search_path = pg_catalog
AS $$
DECLARE
    POSTED CONSTANT smallint := 0;
    INSUFFICIENT_FUNDS CONSTANT smallint := 1;
    BALANCE_ABOVE_MAXIMUM CONSTANT smallint := 2;
    UUID_CONFLICT CONSTANT smallint := 10;
    USER_NOT_FOUND CONSTANT smallint := 11;
    TIMESTAMP_IN_FUTURE CONSTANT smallint := 12;
    TIMESTAMP_TOO_LATE CONSTANT smallint := 13;
    LATE_CHECK_TOO_LONG CONSTANT smallint := 14;

    requests CONSTANT int := cardinality(_uuids);
    -- The lock is the table's, not the number's: another ledger in this database has its own.
    lock_base CONSTANT bigint := 'saldo.transactions'::regclass::oid::bigint << 6;
    lateness_max interval;
    stood record;
    replies boolean := false;       -- whether any answer rests on an entry of an earlier batch

    -- By request.
    places int[];                   -- where the request's user stands in the arrays by user
    firsts int[];                   -- the first request of the batch with the same uuid
    recorders int[];                -- by first request: the one that was recorded under the uuid
    seqs bigint[];                  -- null: this request records nothing
    -- By user of the batch, in order of user_id: state after the requests decided so far.
    user_numbers bigint[];          -- null: no such user
    user_balances bigint[];
    user_horizons timestamptz[];
    stored_numbers bigint[];        -- the last number in the table, before this batch
    -- By shard + 1.
    shard_seqs bigint[] := array_fill(NULL::bigint, ARRAY[64]);
    shard_clocks timestamptz[] := array_fill(NULL::timestamptz, ARRAY[64]);

    place int;
    recorder int;
    shard int;
    amount bigint;
    moment timestamptz;
    clock timestamptz;
    horizon timestamptz;
    balance bigint;
    decision smallint;
    base_number bigint;
    lowest numeric;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'saldo.post_1 needs READ COMMITTED, not %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state',
                  HINT = 'Each statement here must see what was committed before the lock was taken.';
    END IF;

    -- Ascending, so that two batches never wait for each other.
    FOR shard IN
        SELECT DISTINCT (u.user_id & 63)::int FROM unnest(_user_ids) AS u(user_id) ORDER BY 1
    LOOP
        PERFORM pg_advisory_xact_lock(lock_base | shard);
    END LOOP;

    -- From here every statement has a snapshot taken after the locks: what it reads is final.
    SELECT l.max_lateness INTO STRICT lateness_max FROM saldo.ledger AS l WHERE l.only_row;

    outcomes := array_fill(NULL::smallint, ARRAY[requests]);
    replays := array_fill(false, ARRAY[requests]);
    user_ids := array_fill(NULL::bigint, ARRAY[requests]);
    numbers := user_ids;
    amounts := user_ids;
    balances := user_ids;
    seqs := user_ids;
    timestamps := array_fill(NULL::timestamptz, ARRAY[requests]);
    horizons := timestamps;
    recorded_ats := timestamps;
    recorders := array_fill(NULL::int, ARRAY[requests]);

    -- Replays of, and conflicts with, what was recorded before this batch.
    FOR stood IN
        SELECT q.item, t.*,
            t.user_id <> _user_ids[q.item] OR t.amount <> _amounts[q.item]
                OR t."timestamp" <> coalesce(_timestamps[q.item], t."timestamp") AS differs
        FROM unnest(_uuids) WITH ORDINALITY AS q(uuid, item)
        JOIN saldo.transactions AS t ON t.uuid = q.uuid
    LOOP
        outcomes[stood.item] := CASE WHEN stood.differs THEN UUID_CONFLICT ELSE stood.outcome END;
        replays[stood.item] := NOT stood.differs;
        user_ids[stood.item] := stood.user_id;
        numbers[stood.item] := stood.number;
        amounts[stood.item] := stood.amount;
        balances[stood.item] := stood.balance;
        timestamps[stood.item] := stood."timestamp";
        horizons[stood.item] := stood.horizon;
        recorded_ats[stood.item] := stood.recorded_at;
        replies := true;
    END LOOP;

    SELECT array_agg(o.place ORDER BY o.item), array_agg(o.first ORDER BY o.item)
    INTO places, firsts
    FROM (
        SELECT q.item,
            dense_rank() OVER (ORDER BY q.user_id)::int AS place,
            min(q.item) OVER (PARTITION BY q.uuid)::int AS first
        FROM unnest(_uuids, _user_ids) WITH ORDINALITY AS q(uuid, user_id, item)
    ) AS o;

    SELECT array_agg(e.number ORDER BY u.user_id),
        array_agg(e.balance ORDER BY u.user_id),
        array_agg(e.horizon ORDER BY u.user_id)
    INTO user_numbers, user_balances, user_horizons
    FROM (SELECT DISTINCT q.user_id FROM unnest(_user_ids) AS q(user_id)) AS u
    LEFT JOIN LATERAL (
        SELECT t.number, t.balance, t.horizon
        FROM saldo.transactions AS t
        WHERE t.user_id = u.user_id
        ORDER BY t.number DESC
        LIMIT 1
    ) AS e ON true;
    stored_numbers := user_numbers;

    -- The clock is read after the locks and never falls along seq; now() is the transaction's
    -- start, before the wait for the locks.
    FOR stood IN
        SELECT s.shard, coalesce(h.seq, 0) AS seq,
            greatest(clock_timestamp(), h.recorded_at) AS clock
        FROM (SELECT DISTINCT (q.user_id & 63)::smallint AS shard FROM unnest(_user_ids) AS q(user_id)) AS s
        LEFT JOIN LATERAL (
            SELECT t.seq, t.recorded_at
            FROM saldo.transactions AS t
            WHERE t.shard = s.shard
            ORDER BY t.seq DESC
            LIMIT 1
        ) AS h ON true
    LOOP
        shard_seqs[stood.shard + 1] := stood.seq;
        shard_clocks[stood.shard + 1] := stood.clock;
    END LOOP;

    FOR item IN 1 .. requests LOOP
        CONTINUE WHEN outcomes[item] IS NOT NULL;

        amount := _amounts[item];
        moment := _timestamps[item];

        -- The same uuid again in this batch: replay or conflict of the one that was recorded.
        IF firsts[item] < item AND recorders[firsts[item]] IS NOT NULL THEN
            recorder := recorders[firsts[item]];
            IF user_ids[recorder] <> _user_ids[item] OR amounts[recorder] <> amount
                OR timestamps[recorder] <> coalesce(moment, timestamps[recorder])
            THEN
                outcomes[item] := UUID_CONFLICT;
            ELSE
                outcomes[item] := outcomes[recorder];
                replays[item] := true;
            END IF;
            user_ids[item] := user_ids[recorder];
            numbers[item] := numbers[recorder];
            amounts[item] := amounts[recorder];
            balances[item] := balances[recorder];
            timestamps[item] := timestamps[recorder];
            horizons[item] := horizons[recorder];
            recorded_ats[item] := recorded_ats[recorder];
            CONTINUE;
        END IF;

        place := places[item];
        IF user_numbers[place] IS NULL THEN
            outcomes[item] := USER_NOT_FOUND;
            CONTINUE;
        END IF;

        shard := (_user_ids[item] & 63)::int + 1;
        clock := shard_clocks[shard];
        horizon := user_horizons[place];
        IF moment IS NULL THEN
            moment := greatest(clock, horizon);
        ELSIF moment > clock + _future_tolerance THEN
            outcomes[item] := TIMESTAMP_IN_FUTURE;
            CONTINUE;
        ELSIF moment < horizon - lateness_max THEN
            outcomes[item] := TIMESTAMP_TOO_LATE;
            CONTINUE;
        END IF;

        balance := user_balances[place] + amount;
        IF amount > 0 THEN
            decision := CASE WHEN balance > _balance_max THEN BALANCE_ABOVE_MAXIMUM ELSE POSTED END;
        ELSIF balance < 0 THEN
            decision := INSUFFICIENT_FUNDS;
        ELSIF moment >= horizon THEN
            decision := POSTED;
        ELSE
            -- A late withdrawal: the balance at its moment and at every later one must bear it.
            base_number := saldo.number_at_1(_user_ids[item], moment, stored_numbers[place]);
            IF _late_check_entries_max < stored_numbers[place] - base_number + (
                SELECT count(*)
                FROM unnest(places[:item - 1], horizons[:item - 1], seqs[:item - 1])
                    AS b(place, horizon, seq)
                WHERE b.place = places[item] AND b.horizon > moment AND b.seq IS NOT NULL
            ) THEN
                outcomes[item] := LATE_CHECK_TOO_LONG;
                CONTINUE;
            END IF;
            -- Entries up to the moment count at the moment, the later ones each at its own; those
            -- of one instant together (the window's default frame ends with the last peer).
            SELECT min(l.balance) INTO lowest
            FROM (
                SELECT sum(e.amount) OVER (ORDER BY greatest(e."timestamp", moment)) AS balance
                FROM (
                    SELECT t.balance AS amount, moment AS "timestamp"
                    FROM saldo.transactions AS t
                    WHERE t.user_id = _user_ids[item] AND t.number = base_number
                    UNION ALL
                    SELECT t.amount, t."timestamp"
                    FROM saldo.transactions AS t
                    WHERE t.user_id = _user_ids[item] AND t.number > base_number AND t.outcome = 0
                    UNION ALL
                    SELECT b.amount, b."timestamp"
                    FROM unnest(places[:item - 1], amounts[:item - 1], timestamps[:item - 1],
                                outcomes[:item - 1], seqs[:item - 1])
                        AS b(place, amount, "timestamp", outcome, seq)
                    WHERE b.place = places[item] AND b.outcome = 0 AND b.seq IS NOT NULL
                ) AS e
            ) AS l;
            decision := CASE WHEN lowest + amount < 0 THEN INSUFFICIENT_FUNDS ELSE POSTED END;
        END IF;

        IF decision = POSTED THEN
            horizon := greatest(horizon, moment);
            user_balances[place] := balance;
            user_horizons[place] := horizon;
        END IF;
        user_numbers[place] := user_numbers[place] + 1;
        shard_seqs[shard] := shard_seqs[shard] + 1;

        outcomes[item] := decision;
        seqs[item] := shard_seqs[shard];
        user_ids[item] := _user_ids[item];
        numbers[item] := user_numbers[place];
        amounts[item] := amount;
        balances[item] := user_balances[place];
        timestamps[item] := moment;
        horizons[item] := horizon;
        recorded_ats[item] := clock;
        recorders[firsts[item]] := item;
    END LOOP;

    -- In uuid order: two batches with the same uuids in different shards then clash on a key, which
    -- one of them survives, and never wait for each other.
    INSERT INTO saldo.transactions AS t (
        seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, shard, kind, outcome
    )
    SELECT e.seq, e.user_id, e.number, e.amount, e.balance, e."timestamp", e.horizon, e.recorded_at, e.uuid,
        (e.user_id & 63)::smallint, CASE WHEN e.amount > 0 THEN 1 ELSE 2 END, e.outcome
    FROM unnest(seqs, user_ids, numbers, amounts, balances, timestamps, horizons, recorded_ats, _uuids, outcomes)
        AS e(seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, outcome)
    WHERE e.seq IS NOT NULL
    ORDER BY e.uuid;

    IF replies THEN
        -- Something to wait for at commit: an entry that this answers from may not have reached
        -- the standby yet, and a transaction that writes nothing would not wait for it.
        PERFORM pg_logical_emit_message(true, 'saldo', 'replay');
    END IF;
END
$$;
