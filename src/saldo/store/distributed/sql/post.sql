-- On Citus: as post_2, of one shard, called whole on the worker that has it.
--
-- There a statement is planned at each call, by Citus and by PostgreSQL, and that costs more than running it, unless it is of one
-- table and one shard, no more: the plan of such a one is kept. So it is such ones, also a few in a loop, and one of many parts where
-- there are many. Every table but the ledger's is asked for one shard by name, or it would be asked for everywhere.
CREATE FUNCTION saldo.post_on_shard_1(
    _shard smallint,
    _uuids uuid[],
    _user_ids bigint[],
    _amounts bigint[],
    _timestamps timestamptz[],
    _balance_max bigint,
    _future_tolerance interval,
    _late_check_entries_max bigint,
    _atomic boolean,
    OUT outcomes smallint[],
    OUT replays boolean[],
    OUT user_ids bigint[],
    OUT numbers bigint[],
    OUT amounts bigint[],
    OUT balances bigint[],
    OUT timestamps timestamptz[],
    OUT recorded_ats timestamptz[],
    OUT lock_wait interval
)
LANGUAGE plpgsql VOLATILE
-- A plan made for a table that was never analysed must still use the indexes.
SET enable_seqscan = off
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

    FEW CONSTANT int := 5;          -- users or entries that are asked for or recorded one by one, faster than together

    requests CONSTANT int := cardinality(_uuids);
    lateness_max interval;
    known record;
    stood record;
    replies boolean := false;       -- whether any answer rests on an entry of an earlier batch

    -- By request.
    places int[];                   -- where the request's user stands in the arrays by user
    firsts int[];                   -- the first request of the batch with the same uuid
    recorders int[];                -- by first request: the one that was recorded under the uuid
    seqs bigint[];                  -- null: this request records nothing
    horizons timestamptz[];
    users bigint[];
    -- By user of the batch, in order of user_id: state after the requests decided so far.
    user_numbers bigint[];          -- null: no such user
    user_balances bigint[];
    user_horizons timestamptz[];
    stored_numbers bigint[];        -- the last number in the table, before this batch
    -- Of the shard.
    shard_seq bigint;
    shard_clock timestamptz;

    place int;
    recorder int;
    amount bigint;
    moment timestamptz;
    began timestamptz;
    horizon timestamptz;
    balance bigint;
    decision smallint;
    base_number bigint;
    lowest numeric;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'saldo.post_on_shard_1 needs READ COMMITTED, not %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state',
                  HINT = 'Each statement here must see what was committed before the lock was taken.';
    END IF;

    -- Durable is decided where the commit is, and this is there: see post.sql.
    PERFORM set_config('synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true);
    began := clock_timestamp();
    PERFORM pg_advisory_xact_lock('saldo.transactions'::regclass::oid::bigint << 6 | _shard);
    lock_wait := clock_timestamp() - began;

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

    -- From here every statement has a snapshot taken after the lock: what it reads is final.
    -- The clock is read after the lock and never falls along seq; now() is the transaction's start, before the wait for
    -- the lock.
    SELECT t.seq, t.recorded_at INTO shard_seq, shard_clock
    FROM saldo.transactions AS t WHERE t.shard = _shard ORDER BY t.seq DESC LIMIT 1;
    shard_seq := coalesce(shard_seq, 0);
    shard_clock := greatest(clock_timestamp(), shard_clock);
    SELECT l.max_lateness INTO STRICT lateness_max FROM saldo.ledger AS l WHERE l.only_row;

    -- Replays of, and conflicts with, what was recorded before this batch.
    SELECT array_agg(t.uuid) AS uuids, array_agg(t.user_id) AS user_ids, array_agg(t.number) AS numbers,
        array_agg(t.amount) AS amounts, array_agg(t.balance) AS balances, array_agg(t."timestamp") AS timestamps,
        array_agg(t.recorded_at) AS recorded_ats, array_agg(t.outcome) AS outcomes
    INTO known
    FROM saldo.transactions AS t WHERE t.shard = _shard AND t.uuid = ANY (_uuids);
    IF known.uuids IS NOT NULL THEN
        replies := true;
        FOR stood IN
            SELECT q.item, k.*,
                k.user_id <> _user_ids[q.item] OR k.amount <> _amounts[q.item]
                    OR k."timestamp" <> coalesce(_timestamps[q.item], k."timestamp") AS differs
            FROM unnest(_uuids) WITH ORDINALITY AS q(uuid, item)
            JOIN unnest(known.uuids, known.user_ids, known.numbers, known.amounts, known.balances, known.timestamps,
                        known.recorded_ats, known.outcomes)
                AS k(uuid, user_id, number, amount, balance, "timestamp", recorded_at, outcome) ON k.uuid = q.uuid
        LOOP
            outcomes[stood.item] := CASE WHEN stood.differs THEN UUID_CONFLICT ELSE stood.outcome END;
            replays[stood.item] := NOT stood.differs;
            user_ids[stood.item] := stood.user_id;
            numbers[stood.item] := stood.number;
            amounts[stood.item] := stood.amount;
            balances[stood.item] := stood.balance;
            timestamps[stood.item] := stood."timestamp";
            recorded_ats[stood.item] := stood.recorded_at;
        END LOOP;
    END IF;

    SELECT array_agg(o.place ORDER BY o.item), array_agg(o.first ORDER BY o.item)
    INTO places, firsts
    FROM (
        SELECT q.item,
            dense_rank() OVER (ORDER BY q.user_id)::int AS place,
            min(q.item) OVER (PARTITION BY q.uuid)::int AS first
        FROM unnest(_uuids, _user_ids) WITH ORDINALITY AS q(uuid, user_id, item)
    ) AS o;

    SELECT array_agg(DISTINCT q.user_id ORDER BY q.user_id) INTO users FROM unnest(_user_ids) AS q(user_id);
    IF cardinality(users) <= FEW THEN
        FOR place IN 1 .. cardinality(users) LOOP
            SELECT t.number, t.balance, t.horizon INTO stood
            FROM saldo.transactions AS t
            WHERE t.shard = _shard AND t.user_id = users[place] ORDER BY t.number DESC LIMIT 1;
            user_numbers[place] := stood.number;
            user_balances[place] := stood.balance;
            user_horizons[place] := stood.horizon;
        END LOOP;
    ELSE
        SELECT array_agg(e.number ORDER BY u.user_id),
            array_agg(e.balance ORDER BY u.user_id),
            array_agg(e.horizon ORDER BY u.user_id)
        INTO user_numbers, user_balances, user_horizons
        FROM unnest(users) AS u(user_id)
        LEFT JOIN LATERAL (
            SELECT t.number, t.balance, t.horizon
            FROM saldo.transactions AS t
            WHERE t.shard = _shard AND t.user_id = u.user_id
            ORDER BY t.number DESC
            LIMIT 1
        ) AS e ON true;
    END IF;
    stored_numbers := user_numbers;

    FOR item IN 1 .. requests LOOP
        CONTINUE WHEN outcomes[item] IS NOT NULL;

        amount := _amounts[item];
        moment := _timestamps[item];

        -- The same uuid again in this batch: replay or conflict of the one that was recorded.
        IF firsts[item] < item AND recorders[firsts[item]] IS NOT NULL THEN
            recorder := recorders[firsts[item]];
            timestamps[item] := coalesce(timestamps[recorder], _timestamps[recorder]);
            IF _user_ids[recorder] <> _user_ids[item] OR _amounts[recorder] <> amount
                OR timestamps[item] <> coalesce(moment, timestamps[item])
            THEN
                outcomes[item] := UUID_CONFLICT;
            ELSE
                outcomes[item] := outcomes[recorder];
                replays[item] := true;
            END IF;
            user_ids[item] := _user_ids[recorder];
            numbers[item] := numbers[recorder];
            amounts[item] := _amounts[recorder];
            balances[item] := balances[recorder];
            recorded_ats[item] := recorded_ats[recorder];
            CONTINUE;
        END IF;

        place := places[item];
        IF user_numbers[place] IS NULL THEN
            outcomes[item] := USER_NOT_FOUND;
            CONTINUE;
        END IF;

        horizon := user_horizons[place];
        IF moment IS NULL THEN
            moment := greatest(shard_clock, horizon);
            timestamps[item] := moment;
        ELSIF moment > shard_clock + _future_tolerance THEN
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
            base_number := saldo.number_at_on_shard_1(_shard, _user_ids[item], moment, stored_numbers[place]);
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
                    WHERE t.shard = _shard AND t.user_id = _user_ids[item] AND t.number = base_number
                    UNION ALL
                    SELECT t.amount, t."timestamp"
                    FROM saldo.transactions AS t
                    WHERE t.shard = _shard AND t.user_id = _user_ids[item] AND t.number > base_number
                        AND t.outcome = 0
                    UNION ALL
                    SELECT b.amount, coalesce(b."timestamp", b.given)
                    FROM unnest(places[:item - 1], _amounts[:item - 1], timestamps[:item - 1],
                                _timestamps[:item - 1], outcomes[:item - 1], seqs[:item - 1])
                        AS b(place, amount, "timestamp", given, outcome, seq)
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
        shard_seq := shard_seq + 1;

        outcomes[item] := decision;
        seqs[item] := shard_seq;
        numbers[item] := user_numbers[place];
        balances[item] := user_balances[place];
        horizons[item] := horizon;
        recorded_ats[item] := shard_clock;
        recorders[firsts[item]] := item;
    END LOOP;

    IF _atomic AND 0 <> ANY (outcomes) THEN
        RETURN; -- nothing is recorded: the caller must not take any of this for posted
    END IF;

    IF cardinality(array_remove(seqs, NULL)) <= FEW THEN
        FOR item IN 1 .. requests LOOP
            CONTINUE WHEN seqs[item] IS NULL;
            INSERT INTO saldo.transactions (
                seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, shard, kind, outcome
            )
            VALUES (
                seqs[item], _user_ids[item], numbers[item], _amounts[item], balances[item],
                coalesce(timestamps[item], _timestamps[item]), horizons[item], recorded_ats[item], _uuids[item], _shard,
                CASE WHEN _amounts[item] > 0 THEN 1 ELSE 2 END, outcomes[item]
            );
        END LOOP;
    ELSE
        INSERT INTO saldo.transactions AS t (
            seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, shard, kind, outcome
        )
        SELECT e.seq, e.user_id, e.number, e.amount, e.balance, coalesce(e."timestamp", e.given), e.horizon,
            e.recorded_at, e.uuid, _shard, CASE WHEN e.amount > 0 THEN 1 ELSE 2 END, e.outcome
        FROM unnest(seqs, _user_ids, numbers, _amounts, balances, timestamps, _timestamps, horizons, recorded_ats,
                    _uuids, outcomes)
            AS e(seq, user_id, number, amount, balance, "timestamp", given, horizon, recorded_at, uuid, outcome)
        WHERE e.seq IS NOT NULL;
    END IF;

    IF replies THEN
        -- Something to wait for at commit: an entry that this answers from may not have reached
        -- the standby yet, and a transaction that writes nothing would not wait for it.
        PERFORM pg_logical_emit_message(true, 'saldo', 'replay');
    END IF;
END
$$;

SELECT create_distributed_function(
    'saldo.post_on_shard_1(smallint, uuid[], bigint[], bigint[], timestamptz[], bigint, interval, bigint, boolean)', '_shard',
    colocate_with := 'saldo.transactions'
);
