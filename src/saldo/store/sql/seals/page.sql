-- Return up to $3 seals of the shard $1 that begin after $2, in order. previous: see seals/last_of_each_shard.sql.
SELECT s.shard, s.first_seq, s.last_seq, before.hash AS previous, s.root, s.hash, s.sealed_at
FROM (
    SELECT * FROM saldo.seals AS s WHERE s.shard = $1 AND s.first_seq > $2 ORDER BY s.first_seq LIMIT $3
) AS s
LEFT JOIN LATERAL (
    SELECT b.hash FROM saldo.seals AS b
    WHERE b.shard = $1 AND b.first_seq < s.first_seq ORDER BY b.first_seq DESC LIMIT 1
) AS before ON true
ORDER BY s.first_seq
