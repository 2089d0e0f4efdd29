-- The variant of advance.sql for a distributed ledger. The entries are counted on their workers, and the totals are stored on the coordinator.
WITH counted AS MATERIALIZED (
    SELECT c.shard, c.seq FROM saldo.totals AS c ORDER BY c.shard FOR UPDATE SKIP LOCKED
), sums AS MATERIALIZED (
    SELECT s.shard, max(t.seq) AS seq,
        count(*) FILTER (WHERE t.kind = 0) AS users,
        count(*) FILTER (WHERE t.kind <> 0 AND t.outcome = 0) AS posted,
        count(*) FILTER (WHERE t.outcome <> 0) AS refused,
        coalesce(sum(t.amount) FILTER (WHERE t.outcome = 0), 0) AS balance,
        coalesce(sum(t.amount) FILTER (WHERE t.outcome = 0 AND t.amount > 0), 0) AS deposited,
        coalesce(-sum(t.amount) FILTER (WHERE t.outcome = 0 AND t.amount < 0), 0) AS withdrawn,
        array_agg(t.seq) FILTER (
            WHERE t.balance < 0 OR t.balance IS DISTINCT FROM CASE WHEN t.outcome = 0 THEN t.amount ELSE 0 END + CASE
                WHEN t.number = 0 THEN 0
                ELSE before.balance
            END
        ) AS faults,
        count(*) AS entries
    FROM saldo.shards AS s
    JOIN counted AS c ON c.shard = s.shard
    JOIN saldo.transactions AS t ON t.shard = s.shard AND t.seq > c.seq AND t.seq <= c.seq + $1::bigint
    LEFT JOIN saldo.transactions AS before
        ON before.shard = s.shard AND before.user_id = t.user_id AND before.number = t.number - 1
    GROUP BY s.shard
), moved AS (
    UPDATE saldo.totals AS t
    SET seq = s.seq, users = t.users + s.users, posted = t.posted + s.posted, refused = t.refused + s.refused,
        balance = t.balance + s.balance, deposited = t.deposited + s.deposited, withdrawn = t.withdrawn + s.withdrawn
    FROM sums AS s
    WHERE t.shard = s.shard
    RETURNING s.entries
), faulty AS MATERIALIZED (
    SELECT t.shard, t.seq, t.user_id, t.number, t.uuid, t.outcome, t.amount, t.balance,
        (
            SELECT max(b.number) FROM saldo.transactions AS b
            WHERE b.shard = s.shard AND b.user_id = t.user_id AND b.number < t.number
        ) AS before_number,
        (
            SELECT b.balance FROM saldo.transactions AS b
            WHERE b.shard = s.shard AND b.user_id = t.user_id AND b.number < t.number ORDER BY b.number DESC LIMIT 1
        ) AS before_balance
    FROM saldo.shards AS s
    JOIN (SELECT sums.shard, unnest(sums.faults[1:10]) AS seq FROM sums) AS fault ON fault.shard = s.shard
    JOIN saldo.transactions AS t ON t.shard = s.shard AND t.seq = fault.seq
), recorded AS (
    INSERT INTO saldo.audit_faults AS f (rule, shard, seq, last_seq, found, expected, uuid, user_id, number)
    SELECT new.rule, t.shard, t.seq, t.seq,
        CASE new.rule WHEN 'number' THEN t.number ELSE t.balance END::text,
        CASE new.rule
            WHEN 'number' THEN coalesce(t.before_number, -1) + 1
            ELSE coalesce(t.before_balance, 0) + CASE WHEN t.outcome = 0 THEN t.amount ELSE 0 END
        END::text,
        t.uuid, t.user_id, t.number
    FROM faulty AS t
    CROSS JOIN LATERAL (
        SELECT CASE WHEN t.number <> coalesce(t.before_number, -1) + 1 THEN 'number' ELSE 'balance' END AS rule
    ) AS new
    WHERE (SELECT count(*) FROM saldo.audit_faults) < $2
    ON CONFLICT DO NOTHING
    RETURNING f.rule, f.shard, f.seq, f.last_seq, f.found, f.expected, f.uuid, f.user_id, f.number
)
SELECT (SELECT coalesce(sum(entries), 0)::bigint FROM moved) AS entries, recorded.*
FROM (SELECT) AS always
LEFT JOIN recorded ON true
