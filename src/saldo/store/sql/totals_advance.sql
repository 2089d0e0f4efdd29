-- Counts up to $1 more entries of each shard that has some; how many it were. Whoever comes at the same time passes over the
-- shards that are being counted. The balance of an entry is that of the user's entry before and, if it was posted, its amount.
WITH counted AS (
    SELECT c.shard, c.seq FROM saldo.totals AS c ORDER BY c.shard FOR UPDATE SKIP LOCKED
), sums AS (
    SELECT c.shard, max(e.seq) AS seq,
        count(*) FILTER (WHERE e.kind = 0) AS users,
        count(*) FILTER (WHERE e.kind <> 0 AND e.outcome = 0) AS posted,
        count(*) FILTER (WHERE e.outcome <> 0) AS refused,
        coalesce(sum(e.amount) FILTER (WHERE e.outcome = 0), 0) AS balance,
        count(*) FILTER (WHERE e.fault) AS faults,
        count(*) AS entries
    FROM counted AS c
    CROSS JOIN LATERAL (
        SELECT t.seq, t.kind, t.outcome, t.amount,
            -- Asked entry by entry: a join could be planned as one with the whole log.
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
        balance = t.balance + s.balance, faults = t.faults + s.faults
    FROM sums AS s
    WHERE t.shard = s.shard
    RETURNING s.entries
)
SELECT coalesce(sum(entries), 0)::bigint AS entries FROM moved
