-- Return up to $3 entries of the shard $1 after $2, in the order of the log, including opening entries (kind 0),
-- because they have positions, too.
SELECT t.seq, t.kind, t.uuid, t.user_id, t.number, t.amount, t.balance,
    -- The timestamp of an opening entry is -infinity.
    CASE WHEN t.kind = 0 THEN t.recorded_at ELSE t."timestamp" END AS "timestamp", t.recorded_at, t.outcome,
    t.outcome = 0 AND t."timestamp" < t.horizon AS late
FROM saldo.transactions AS t
WHERE t.shard = $1 AND t.seq > $2
ORDER BY t.seq
LIMIT $3
