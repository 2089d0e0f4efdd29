-- Return the $2 largest of the recently posted transactions. Of each shard the last $1 entries are read.
SELECT l.uuid, l.user_id, l.number, l.amount, l.balance, l."timestamp", l.recorded_at, l.outcome, l.late
FROM generate_series(0, 63) AS shard
CROSS JOIN LATERAL (
    SELECT t.uuid, t.user_id, t.number, t.amount, t.balance, t."timestamp", t.recorded_at, t.outcome, t.kind,
        t.outcome = 0 AND t."timestamp" < t.horizon AS late
    FROM saldo.transactions AS t
    WHERE t.shard = shard.shard ORDER BY t.seq DESC LIMIT $1
) AS l
WHERE l.kind <> 0 AND l.outcome = 0
ORDER BY abs(l.amount) DESC, l.recorded_at DESC
LIMIT $2
