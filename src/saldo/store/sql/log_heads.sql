-- The last position of every shard; 0: nothing yet.
SELECT shard::smallint, coalesce(head.seq, 0) AS seq
FROM generate_series(0, 63) AS shard
LEFT JOIN LATERAL (
    SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = shard.shard ORDER BY t.seq DESC LIMIT 1
) AS head ON true
ORDER BY shard
