-- The shards that have entries after their last seal: up to where they are sealed, and the hash of that seal; null: none. And for
-- how long the oldest of those entries has waited.
SELECT shard::smallint, coalesce(last.last_seq, 0) AS last_seq, last.hash,
    extract(epoch FROM clock_timestamp() - next.recorded_at)::double precision AS waited_seconds
FROM generate_series(0, 63) AS shard
LEFT JOIN LATERAL (
    SELECT s.last_seq, s.hash FROM saldo.seals AS s WHERE s.shard = shard.shard ORDER BY s.first_seq DESC LIMIT 1
) AS last ON true
-- Not EXISTS: that could be planned as a join with the whole log.
CROSS JOIN LATERAL (
    SELECT t.recorded_at FROM saldo.transactions AS t
    WHERE t.shard = shard.shard AND t.seq > coalesce(last.last_seq, 0) ORDER BY t.seq LIMIT 1
) AS next
