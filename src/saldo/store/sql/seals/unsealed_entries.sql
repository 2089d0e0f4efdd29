-- Return unsealed entries in the columns of ENTRY_COLUMNS (saldo.ledger.seals): up to one seal's entries of each shard,
-- from the shards that have waited longest, until there are 16384. The statement is run by COPY and has no arguments,
-- because the driver would pass them with prepared statements, which a pooler may lose.
SELECT e.seq, e.user_id, e.number, e.amount, e.balance, e."timestamp", e.horizon, e.recorded_at,
    e.uuid, e.shard, e.kind, e.outcome
FROM (
    SELECT shard.shard::smallint AS shard, coalesce(last.last_seq, 0) AS last_seq,
        sum(least(head.seq - coalesce(last.last_seq, 0), 1024))
            OVER (ORDER BY next.recorded_at, shard.shard ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM generate_series(0, 63) AS shard
    LEFT JOIN LATERAL (
        SELECT s.last_seq FROM saldo.seals AS s WHERE s.shard = shard.shard ORDER BY s.first_seq DESC LIMIT 1
    ) AS last ON true
    CROSS JOIN LATERAL (
        SELECT t.recorded_at FROM saldo.transactions AS t
        WHERE t.shard = shard.shard AND t.seq > coalesce(last.last_seq, 0) ORDER BY t.seq LIMIT 1
    ) AS next
    CROSS JOIN LATERAL (
        SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = shard.shard ORDER BY t.seq DESC LIMIT 1
    ) AS head
) AS behind
CROSS JOIN LATERAL (
    SELECT t.* FROM saldo.transactions AS t
    WHERE t.shard = behind.shard AND t.seq > behind.last_seq
    ORDER BY t.seq
    LIMIT 1024
) AS e
WHERE coalesce(behind.before, 0) < 16384
ORDER BY e.shard, e.seq
