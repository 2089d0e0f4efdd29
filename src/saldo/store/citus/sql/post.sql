-- On Citus: post_3 for one shard, called as a whole on the worker that stores it.
--
-- On Citus every call plans its statements, in Citus and in PostgreSQL, and planning takes longer than running them.
-- Only the plan of a statement on one table and one shard is kept. The function therefore uses such statements, also in
-- a loop for a few rows, and one statement with several tables where there are many rows. Every table except
-- saldo.ledger is queried with an explicit shard, because the query would otherwise go to all shards.
CREATE FUNCTION saldo.post_on_shard_2(
    _shard smallint,
    _uuids uuid[],
    _user_ids bigint[],
    _amounts bigint[],
    _timestamps timestamptz[],
    _balance_max bigint,
    _future_tolerance interval,
    _late_check_entries_max bigint,
    _late_entries_max bigint,
    _atomic boolean,
    OUT outcomes smallint[],
    OUT replays boolean[],
    OUT user_ids bigint[],
    OUT numbers bigint[],
    OUT amounts bigint[],
    OUT balances bigint[],
    OUT timestamps timestamptz[],
    OUT recorded_ats timestamptz[],
    OUT lock_wait interval,
    OUT late_entries bigint
)
LANGUAGE plpgsql VOLATILE
-- Plans that were made for a table that was never analysed must use the indexes, too.
SET enable_seqscan = off
SET jit = off
SET search_path = pg_catalog
-- A day has 24 hours, whatever the time zone of the role, the session or the server.
SET timezone = 'UTC'
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

    -- Late withdrawals. Nothing of this is filled before the batch has one. By user of the batch:
    heads int[];                    -- the user's first request; null throughout: no late withdrawal yet
    sinces timestamptz[];           -- earlier moments are too far back to be checked
    reads bigint[];                 -- stored entries that the user's checks had read; null: no tree yet
    offsets int[];                  -- where the user's tree begins in sums and lows
    widths int[];                   -- leaves of the tree: a power of two
    clock_leaves int[];             -- the leaf of the clock
    horizon_leaves int[];           -- the leaf of the user's horizon after the requests in the tree
    applied int[];                  -- the user's first request that has not been put into the tree
    waits boolean[];                -- whether a request of the user stays undecided
    -- By request:
    nexts int[];                    -- the next request of the same user
    leaves int[];                   -- the leaf of the request's timestamp
    first_waits boolean[];          -- by first request: whether one with the same uuid stays undecided
    -- A tree for each user: a leaf stands for the time from one moment of the batch to the next. sums: what the batch
    -- posted at the moment; lows: the lowest balance in that time by what the batch posted under the same node.
    sums numeric[];
    lows numeric[];
    earlier smallint[];             -- outcomes of earlier batches; null: there are none
    stored_horizons timestamptz[];
    bounds timestamptz[];
    bound_lows numeric[];
    since timestamptz;
    other int;
    leaf int;
    node int;
    width int;
    tree int;                       -- offset of the tree at hand
    after bigint;                   -- entries after a moment
    lowest numeric;
    change numeric;
    before numeric;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'saldo.post_on_shard_2 needs READ COMMITTED, not %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state',
                  HINT = 'Each statement here must see what was committed before the lock was taken.';
    END IF;
    IF pg_is_in_recovery() THEN
        -- Behind a pooler. An atomic array that is refused writes nothing, so that nothing else would fail here.
        RAISE EXCEPTION 'saldo.post_on_shard_2 needs the primary' USING ERRCODE = 'read_only_sql_transaction';
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
    stored_horizons := user_horizons;
    late_entries := 0;
    IF replies THEN
        earlier := outcomes;
    END IF;

    FOR item IN 1 .. requests LOOP
        CONTINUE WHEN outcomes[item] IS NOT NULL;

        amount := _amounts[item];
        moment := _timestamps[item];

        -- The same uuid again in this batch: replay or conflict of the one that was recorded.
        IF firsts[item] < item AND (recorders[firsts[item]] IS NOT NULL OR first_waits[firsts[item]]) THEN
            recorder := recorders[firsts[item]];
            IF recorder IS NULL THEN
                -- What follows an undecided request with the same uuid must not overtake it, nor what follows this one.
                waits[places[item]] := true;
                user_numbers[places[item]] := NULL;
                CONTINUE;
            END IF;
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
            IF waits[place] THEN
                -- What follows an undecided request of the same user must not overtake it.
                first_waits[firsts[item]] := true;
            ELSE
                outcomes[item] := USER_NOT_FOUND;
            END IF;
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
            IF heads IS NULL THEN
                -- The first one of the batch: chain the requests of each user, in their order.
                heads := array_fill(NULL::int, ARRAY[cardinality(user_numbers)]);
                nexts := array_fill(NULL::int, ARRAY[requests]);
                offsets := heads; -- meanwhile: each user's last request so far
                FOR other IN 1 .. requests LOOP
                    IF heads[places[other]] IS NULL THEN
                        heads[places[other]] := other;
                    ELSE
                        nexts[offsets[places[other]]] := other;
                    END IF;
                    offsets[places[other]] := other;
                END LOOP;
                offsets := array_fill(NULL::int, ARRAY[cardinality(user_numbers)]);
                widths := offsets;
                clock_leaves := offsets;
                horizon_leaves := offsets;
                applied := offsets;
                reads := array_fill(NULL::bigint, ARRAY[cardinality(user_numbers)]);
                sinces := array_fill(NULL::timestamptz, ARRAY[cardinality(user_numbers)]);
                leaves := array_fill(NULL::int, ARRAY[requests]);
                sums := '{}';
                lows := '{}';
            END IF;

            IF reads[place] IS NULL THEN
                -- The first one of the user: read his entries once, for all late withdrawals of the batch.
                since := NULL;
                bounds := ARRAY[shard_clock, stored_horizons[place]];
                other := heads[place];
                WHILE other IS NOT NULL LOOP
                    IF _timestamps[other] IS NOT NULL THEN
                        bounds := bounds || _timestamps[other];
                        IF _amounts[other] < 0 AND earlier[other] IS NULL
                            AND _timestamps[other] < stored_horizons[place]
                            AND (lateness_max IS NULL OR _timestamps[other] >= stored_horizons[place] - lateness_max)
                        THEN
                            since := least(since, _timestamps[other]);
                        END IF;
                    END IF;
                    other := nexts[other];
                END LOOP;
                base_number := stored_numbers[place];
                IF since IS NULL THEN
                    since := stored_horizons[place];
                ELSE
                    base_number := saldo.number_at_on_shard_1(_shard, _user_ids[item], since, stored_numbers[place]);
                END IF;
                IF base_number < stored_numbers[place] - _late_check_entries_max THEN
                    base_number := stored_numbers[place] - _late_check_entries_max;
                    SELECT t.horizon INTO STRICT since
                    FROM saldo.transactions AS t
                    WHERE t.shard = _shard AND t.user_id = _user_ids[item] AND t.number = base_number;
                END IF;

                after := stored_numbers[place] - base_number;
                IF after > 0 AND late_entries > 0 AND late_entries + after > _late_entries_max THEN
                    IF _atomic THEN
                        -- Nothing of it can wait for the next batch.
                        outcomes[item] := LATE_CHECK_TOO_LONG;
                        CONTINUE;
                    END IF;
                    waits[place] := true;
                    user_numbers[place] := NULL; -- so that the user's next requests are looked at
                    first_waits[firsts[item]] := true;
                    CONTINUE;
                END IF;
                late_entries := late_entries + after;
                reads[place] := after;
                sinces[place] := since;

                SELECT array_agg(DISTINCT b.bound ORDER BY b.bound) INTO bounds
                FROM unnest(bounds) AS b(bound) WHERE b.bound >= since;
                -- Entries up to the first bound count at it, the later ones each at its own moment; those of one instant
                -- together (the window's default frame ends with the last peer).
                SELECT array_agg(g.lowest ORDER BY g.leaf) INTO STRICT bound_lows
                FROM (
                    SELECT width_bucket(r.moment, bounds) AS leaf, min(r.balance) AS lowest
                    FROM (
                        SELECT e.moment, sum(e.amount) OVER (ORDER BY e.moment) AS balance
                        FROM (
                            SELECT bounds[1] AS moment, t.balance::numeric AS amount
                            FROM saldo.transactions AS t
                            WHERE t.shard = _shard AND t.user_id = _user_ids[item] AND t.number = base_number
                            UNION ALL
                            SELECT greatest(t."timestamp", bounds[1]), t.amount
                            FROM saldo.transactions AS t
                            WHERE t.shard = _shard AND t.user_id = _user_ids[item] AND t.number > base_number
                                AND t.number <= stored_numbers[place] AND t.outcome = 0
                            UNION ALL
                            SELECT b.bound, 0 FROM unnest(bounds) AS b(bound)
                        ) AS e
                    ) AS r
                    GROUP BY 1
                ) AS g;

                width := 1;
                WHILE width < cardinality(bounds) LOOP
                    width := 2 * width;
                END LOOP;
                tree := cardinality(sums);
                offsets[place] := tree;
                widths[place] := width;
                FOR node IN 1 .. 2 * width - 1 LOOP
                    sums[tree + node] := 0;
                    lows[tree + node] := CASE WHEN node >= width THEN bound_lows[node - width + 1] END;
                END LOOP;
                clock_leaves[place] := width_bucket(shard_clock, bounds);
                horizon_leaves[place] := greatest(width_bucket(stored_horizons[place], bounds), 1);
                applied[place] := heads[place];
                other := heads[place];
                WHILE other IS NOT NULL LOOP
                    IF _timestamps[other] IS NOT NULL THEN
                        leaves[other] := greatest(width_bucket(_timestamps[other], bounds), 1);
                    END IF;
                    other := nexts[other];
                END LOOP;
                FOR node IN REVERSE width - 1 .. 1 LOOP
                    sums[tree + node] := sums[tree + 2 * node] + sums[tree + 2 * node + 1];
                    lows[tree + node] := least(
                        lows[tree + 2 * node], sums[tree + 2 * node] + lows[tree + 2 * node + 1]);
                END LOOP;
            END IF;

            -- Entries recorded after the last one with a horizon up to the moment, refused ones too.
            after := user_numbers[place] - stored_numbers[place];
            IF moment < sinces[place] THEN
                outcomes[item] := LATE_CHECK_TOO_LONG;
                CONTINUE;
            ELSIF reads[place] + after > _late_check_entries_max THEN
                IF moment < stored_horizons[place] THEN
                    after := after + stored_numbers[place] - saldo.number_at_on_shard_1(_shard, _user_ids[item], moment, stored_numbers[place]);
                ELSE
                    after := 0;
                    other := heads[place];
                    WHILE other < item LOOP
                        IF seqs[other] IS NOT NULL AND horizons[other] > moment THEN
                            after := after + 1;
                        END IF;
                        other := nexts[other];
                    END LOOP;
                END IF;
                IF after > _late_check_entries_max THEN
                    outcomes[item] := LATE_CHECK_TOO_LONG;
                    CONTINUE;
                END IF;
            END IF;

            -- What the batch has posted of the user since the tree was made, or since the last check.
            tree := offsets[place];
            other := applied[place];
            WHILE other < item LOOP
                IF seqs[other] IS NOT NULL AND outcomes[other] = POSTED THEN
                    leaf := coalesce(leaves[other], greatest(clock_leaves[place], horizon_leaves[place]));
                    horizon_leaves[place] := greatest(horizon_leaves[place], leaf);
                    node := widths[place] - 1 + leaf;
                    sums[tree + node] := sums[tree + node] + _amounts[other];
                    lows[tree + node] := lows[tree + node] + _amounts[other];
                    WHILE node > 1 LOOP
                        node := node / 2;
                        sums[tree + node] := sums[tree + node] + _amounts[other];
                        lows[tree + node] := least(
                            lows[tree + 2 * node], sums[tree + 2 * node] + lows[tree + 2 * node + 1]);
                    END LOOP;
                END IF;
                other := nexts[other];
            END LOOP;
            applied[place] := other;

            -- The lowest balance from the moment's leaf on, from the leaf up to the root of the tree.
            node := widths[place] - 1 + leaves[item];
            lowest := lows[tree + node];
            change := sums[tree + node];
            before := 0;
            WHILE node > 1 LOOP
                IF node % 2 = 0 THEN
                    lowest := least(lowest, change + lows[tree + node + 1]);
                    change := change + sums[tree + node + 1];
                ELSE
                    before := before + sums[tree + node - 1];
                END IF;
                node := node / 2;
            END LOOP;
            decision := CASE WHEN before + lowest + amount < 0 THEN INSUFFICIENT_FUNDS ELSE POSTED END;
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
    'saldo.post_on_shard_2(smallint, uuid[], bigint[], bigint[], timestamptz[], bigint, interval, bigint, bigint, boolean)', '_shard',
    colocate_with := 'saldo.transactions'
);
