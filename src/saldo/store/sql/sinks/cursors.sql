-- Return the cursors of the sink $1, and the log identity (log/identity.sql), read in the same statement.
SELECT shard, seq,
    (SELECT system_identifier FROM pg_control_system()) || '-'
        || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
        || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '') AS identity
FROM saldo.cursors WHERE sink = $1
