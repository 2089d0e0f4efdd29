-- The last position of every shard, and of the notices as shard 64; 0: nothing yet.
SELECT shard::smallint, coalesce(head.seq, 0) AS seq
FROM generate_series(0, 63) AS shard
LEFT JOIN LATERAL (
    SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = shard.shard ORDER BY t.seq DESC LIMIT 1
) AS head ON true
UNION ALL
SELECT 64, coalesce(max(n.seq), 0) FROM saldo.notices AS n
ORDER BY 1
