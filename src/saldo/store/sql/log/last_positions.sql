-- Return the last position of every shard, and of the notices as shard 64; 0 for an empty shard.
-- identity: the log identity (log/identity.sql), read in the same statement, so that no failover can happen in between.
SELECT h.shard, h.seq,
    (SELECT system_identifier FROM pg_control_system()) || '-'
        || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
        || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '') AS identity
FROM (
    SELECT shard::smallint, coalesce(head.seq, 0) AS seq
    FROM generate_series(0, 63) AS shard
    LEFT JOIN LATERAL (
        SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = shard.shard ORDER BY t.seq DESC LIMIT 1
    ) AS head ON true
    UNION ALL
    SELECT 64, coalesce(max(n.seq), 0) FROM saldo.notices AS n
) AS h
ORDER BY 1
