-- Return the entries at the given positions that still have the given uuids.
-- The timestamp of an opening entry is stored as -infinity; the result has the user's created_at instead.
WITH found AS MATERIALIZED (
    SELECT t.shard, t.seq, t.user_id, t.number, t.uuid, t.kind, t.outcome, t.amount, t.balance, t."timestamp",
        t.recorded_at
    FROM saldo.shards AS s
    JOIN unnest($1::smallint[], $2::bigint[], $3::uuid[]) AS wanted (shard, seq, uuid) ON wanted.shard = s.shard
    JOIN saldo.transactions AS t ON t.shard = s.shard AND t.seq = wanted.seq AND t.uuid = wanted.uuid
)
SELECT e.shard, e.seq, e.user_id, e.number, e.uuid, e.kind, e.outcome, e.amount, e.balance,
    CASE WHEN e.kind = 0 THEN coalesce(u.created_at, e.recorded_at) ELSE e."timestamp" END AS "timestamp", e.recorded_at,
    u.name AS user_name
FROM found AS e
LEFT JOIN saldo.users AS u ON e.kind = 0 AND u.id = e.user_id
