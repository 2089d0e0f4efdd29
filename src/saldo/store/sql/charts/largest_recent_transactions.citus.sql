-- Return the $2 largest of the recently posted transactions. Of each shard the last $1 entries are read.
SELECT t.uuid, t.user_id, t.number, t.amount, t.balance, t."timestamp", t.recorded_at, t.outcome,
    t."timestamp" < t.horizon AS late
FROM saldo.shards AS s
JOIN saldo.transactions AS t ON t.shard = s.shard
WHERE t.kind <> 0 AND t.outcome = 0
    AND t.seq > (SELECT max(last.seq) - $1::bigint FROM saldo.transactions AS last WHERE last.shard = s.shard)
ORDER BY abs(t.amount) DESC, t.recorded_at DESC
LIMIT $2
