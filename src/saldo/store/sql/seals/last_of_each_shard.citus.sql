-- Return the last seal of each shard that has one. previous: the hash of the preceding seal; null for the first one.
SELECT e.shard, e.first_seq, e.last_seq, (
        SELECT b.hash FROM saldo.seals AS b
        WHERE b.shard = e.shard AND b.first_seq < e.first_seq ORDER BY b.first_seq DESC LIMIT 1
    ) AS previous, e.root, e.hash, e.sealed_at
FROM saldo.shards AS s
JOIN saldo.seals AS e ON e.shard = s.shard
WHERE e.first_seq = (SELECT max(last.first_seq) FROM saldo.seals AS last WHERE last.shard = s.shard)
ORDER BY e.shard
