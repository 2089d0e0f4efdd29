-- The variant of unsealed_entries.sql for a distributed ledger.
WITH behind AS MATERIALIZED (
    SELECT b.shard, b.last_seq, b.head,
        sum(least(b.head - b.last_seq, 1024))
            OVER (ORDER BY b.next, b.shard ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (
        SELECT last.shard, last.last_seq,
            (
                SELECT t.recorded_at FROM saldo.transactions AS t
                WHERE t.shard = last.shard AND t.seq > last.last_seq ORDER BY t.seq LIMIT 1
            ) AS next,
            (SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = last.shard ORDER BY t.seq DESC LIMIT 1) AS head
        FROM (
            SELECT s.shard, coalesce((
                SELECT e.last_seq FROM saldo.seals AS e WHERE e.shard = s.shard ORDER BY e.first_seq DESC LIMIT 1
            ), 0) AS last_seq
            FROM saldo.shards AS s
        ) AS last
    ) AS b
    WHERE b.head > b.last_seq
)
SELECT t.seq, t.user_id, t.number, t.amount, t.balance, t."timestamp", t.horizon, t.recorded_at,
    t.uuid, t.shard, t.kind, t.outcome
FROM saldo.shards AS s
JOIN behind AS b ON b.shard = s.shard AND coalesce(b.before, 0) < 16384
JOIN saldo.transactions AS t ON t.shard = s.shard AND t.seq > b.last_seq AND t.seq <= b.last_seq + 1024
ORDER BY t.shard, t.seq
