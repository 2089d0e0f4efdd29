-- Return the last position of every shard, and of the notices as shard 64; 0 for an empty shard.
-- identity: the log identity of the coordinator.
SELECT h.shard, h.seq,
    (SELECT system_identifier FROM pg_control_system()) || '-'
        || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
        || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '') AS identity
FROM (
    SELECT s.shard, coalesce((
        SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = s.shard ORDER BY t.seq DESC LIMIT 1
    ), 0) AS seq
    FROM saldo.shards AS s
    UNION ALL
    SELECT 64, coalesce(max(n.seq), 0) FROM saldo.notices AS n
) AS h
ORDER BY 1
