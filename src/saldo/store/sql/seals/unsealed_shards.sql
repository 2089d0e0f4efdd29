-- Return the shards that have entries after their last seal, the end and the hash of that seal (null if there is none),
-- and the age of the oldest unsealed entry.
SELECT shard::smallint, coalesce(last.last_seq, 0) AS last_seq, last.hash,
    extract(epoch FROM clock_timestamp() - next.recorded_at)::double precision AS waited_seconds
FROM generate_series(0, 63) AS shard
LEFT JOIN LATERAL (
    SELECT s.last_seq, s.hash FROM saldo.seals AS s WHERE s.shard = shard.shard ORDER BY s.first_seq DESC LIMIT 1
) AS last ON true
-- EXISTS is not used, because the planner could run it as a join over the whole log.
CROSS JOIN LATERAL (
    SELECT t.recorded_at FROM saldo.transactions AS t
    WHERE t.shard = shard.shard AND t.seq > coalesce(last.last_seq, 0) ORDER BY t.seq LIMIT 1
) AS next
