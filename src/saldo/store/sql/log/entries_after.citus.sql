-- Return up to $3 entries of each shard after its position, in the order of each shard. seq has no gaps.
-- identity: the log identity of the coordinator.
-- The timestamp of an opening entry is stored as -infinity; the result has the user's created_at instead.
WITH page AS MATERIALIZED (
    SELECT t.shard, t.seq, t.user_id, t.number, t.uuid, t.kind, t.outcome, t.amount, t.balance, t."timestamp",
        t.recorded_at
    FROM saldo.shards AS s
    JOIN unnest($1::smallint[], $2::bigint[]) AS position (shard, seq) ON position.shard = s.shard
    JOIN saldo.transactions AS t ON t.shard = s.shard AND t.seq > position.seq AND t.seq <= position.seq + $3::bigint
)
SELECT e.shard, e.seq, e.user_id, e.number, e.uuid, e.kind, e.outcome, e.amount, e.balance,
    CASE WHEN e.kind = 0 THEN coalesce(u.created_at, e.recorded_at) ELSE e."timestamp" END AS "timestamp", e.recorded_at,
    u.name AS user_name,
    (SELECT system_identifier FROM pg_control_system()) || '-'
        || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
        || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '') AS identity
FROM page AS e
LEFT JOIN saldo.users AS u ON e.kind = 0 AND u.id = e.user_id
ORDER BY e.shard, e.seq
