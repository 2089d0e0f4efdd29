-- Count up to $1 further entries of each shard, and return how many were counted. A concurrent call skips the shards
-- that are being counted. The balance of an entry must be that of the user's previous entry plus, if it was posted, its
-- amount. An entry that violates this is recorded as a fault, as the audit does (saldo.ledger.audit.rules): at most ten
-- for each shard in one call, until there are $2 in all.
WITH counted AS (
    SELECT c.shard, c.seq FROM saldo.totals AS c ORDER BY c.shard FOR UPDATE SKIP LOCKED
), sums AS (
    SELECT c.shard, max(e.seq) AS seq,
        count(*) FILTER (WHERE e.kind = 0) AS users,
        count(*) FILTER (WHERE e.kind <> 0 AND e.outcome = 0) AS posted,
        count(*) FILTER (WHERE e.outcome <> 0) AS refused,
        coalesce(sum(e.amount) FILTER (WHERE e.outcome = 0), 0) AS balance,
        coalesce(sum(e.amount) FILTER (WHERE e.outcome = 0 AND e.amount > 0), 0) AS deposited,
        coalesce(-sum(e.amount) FILTER (WHERE e.outcome = 0 AND e.amount < 0), 0) AS withdrawn,
        array_agg(e.seq) FILTER (WHERE e.fault) AS faults,
        count(*) AS entries
    FROM counted AS c
    CROSS JOIN LATERAL (
        SELECT t.seq, t.kind, t.outcome, t.amount,
            -- There is a subquery for each entry, because the planner could run a join over the whole log.
            t.balance < 0 OR t.balance IS DISTINCT FROM CASE WHEN t.outcome = 0 THEN t.amount ELSE 0 END + CASE
                WHEN t.number = 0 THEN 0
                ELSE (
                    SELECT before.balance FROM saldo.transactions AS before
                    WHERE before.user_id = t.user_id AND before.number = t.number - 1
                )
            END AS fault
        FROM (
            SELECT t.* FROM saldo.transactions AS t WHERE t.shard = c.shard AND t.seq > c.seq ORDER BY t.seq LIMIT $1
        ) AS t
    ) AS e
    GROUP BY c.shard
), moved AS (
    UPDATE saldo.totals AS t
    SET seq = s.seq, users = t.users + s.users, posted = t.posted + s.posted, refused = t.refused + s.refused,
        balance = t.balance + s.balance, deposited = t.deposited + s.deposited, withdrawn = t.withdrawn + s.withdrawn
    FROM sums AS s
    WHERE t.shard = s.shard
    RETURNING s.entries
), recorded AS (
    INSERT INTO saldo.audit_faults AS f (rule, shard, seq, last_seq, found, expected, uuid, user_id, number)
    SELECT new.rule, t.shard, t.seq, t.seq,
        CASE new.rule WHEN 'number' THEN t.number ELSE t.balance END::text,
        CASE new.rule
            WHEN 'number' THEN coalesce(before.number, -1) + 1
            ELSE coalesce(before.balance, 0) + CASE WHEN t.outcome = 0 THEN t.amount ELSE 0 END
        END::text,
        t.uuid, t.user_id, t.number
    FROM sums AS s
    CROSS JOIN LATERAL unnest(s.faults[1:10]) AS fault (seq)
    CROSS JOIN LATERAL (
        SELECT t.* FROM saldo.transactions AS t WHERE t.shard = s.shard AND t.seq = fault.seq LIMIT 1
    ) AS t
    LEFT JOIN LATERAL (
        SELECT b.number, b.balance FROM saldo.transactions AS b
        WHERE b.user_id = t.user_id AND b.number < t.number ORDER BY b.number DESC LIMIT 1
    ) AS before ON true
    CROSS JOIN LATERAL (
        SELECT CASE WHEN t.number <> coalesce(before.number, -1) + 1 THEN 'number' ELSE 'balance' END AS rule
    ) AS new
    WHERE (SELECT count(*) FROM saldo.audit_faults) < $2
    ON CONFLICT DO NOTHING
    RETURNING f.rule, f.shard, f.seq, f.last_seq, f.found, f.expected, f.uuid, f.user_id, f.number
)
SELECT (SELECT coalesce(sum(entries), 0)::bigint FROM moved) AS entries, recorded.*
FROM (SELECT) AS always
LEFT JOIN recorded ON true
