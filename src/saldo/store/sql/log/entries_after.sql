-- Return up to $3 entries of each shard after its position, in the order of each shard.
-- identity: the log identity (log/identity.sql), read in the same statement, so that no failover can happen in between.
-- The timestamp of an opening entry is stored as -infinity; the result has the user's created_at instead.
SELECT e.shard, e.seq, e.user_id, e.number, e.uuid, e.kind, e.outcome, e.amount, e.balance,
    CASE WHEN e.kind = 0 THEN coalesce((SELECT u.created_at FROM saldo.users AS u WHERE u.id = e.user_id), e.recorded_at)
        ELSE e."timestamp" END AS "timestamp", e.recorded_at,
    CASE WHEN e.kind = 0 THEN (SELECT u.name FROM saldo.users AS u WHERE u.id = e.user_id) END AS user_name,
    (SELECT system_identifier FROM pg_control_system()) || '-'
        || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
        || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '') AS identity
FROM unnest($1::smallint[], $2::bigint[]) AS position (shard, seq)
CROSS JOIN LATERAL (
    SELECT t.shard, t.seq, t.user_id, t.number, t.uuid, t.kind, t.outcome, t.amount, t.balance, t."timestamp",
        t.recorded_at
    FROM saldo.transactions AS t
    WHERE t.shard = position.shard AND t.seq > position.seq
    ORDER BY t.seq
    LIMIT $3
) AS e
ORDER BY e.shard, e.seq
