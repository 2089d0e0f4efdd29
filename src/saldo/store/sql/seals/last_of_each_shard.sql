-- Return the last seal of each shard that has one. previous: the hash of the preceding seal; null for the first one.
SELECT s.shard, s.first_seq, s.last_seq, before.hash AS previous, s.root, s.hash, s.sealed_at
FROM generate_series(0, 63) AS shard
CROSS JOIN LATERAL (
    SELECT * FROM saldo.seals AS s WHERE s.shard = shard.shard ORDER BY s.first_seq DESC LIMIT 1
) AS s
LEFT JOIN LATERAL (
    SELECT b.hash FROM saldo.seals AS b
    WHERE b.shard = s.shard AND b.first_seq < s.first_seq ORDER BY b.first_seq DESC LIMIT 1
) AS before ON true
ORDER BY s.shard
