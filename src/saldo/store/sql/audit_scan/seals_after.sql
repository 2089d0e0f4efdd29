-- Return up to $3 seals of the shard $1 that begin after $2, in order.
SELECT s.shard, s.first_seq, s.last_seq, s.root, s.hash
FROM saldo.seals AS s
WHERE s.shard = $1 AND s.first_seq > $2
ORDER BY s.first_seq
LIMIT $3
