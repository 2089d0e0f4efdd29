-- Up to $3 entries of each shard after its position, in the order of each shard. seq has no gaps.
WITH page AS MATERIALIZED (
    SELECT t.shard, t.seq, t.user_id, t.number, t.uuid, t.kind, t.outcome, t.amount, t.balance,
        -- The opening entry's is -infinity.
        CASE WHEN t.kind = 0 THEN t.recorded_at ELSE t."timestamp" END AS "timestamp", t.recorded_at
    FROM saldo.shards AS s
    JOIN unnest($1::smallint[], $2::bigint[]) AS position (shard, seq) ON position.shard = s.shard
    JOIN saldo.transactions AS t ON t.shard = s.shard AND t.seq > position.seq AND t.seq <= position.seq + $3::bigint
)
SELECT e.shard, e.seq, e.user_id, e.number, e.uuid, e.kind, e.outcome, e.amount, e.balance, e."timestamp", e.recorded_at,
    u.name AS user_name
FROM page AS e
LEFT JOIN saldo.users AS u ON e.kind = 0 AND u.id = e.user_id
ORDER BY e.shard, e.seq
