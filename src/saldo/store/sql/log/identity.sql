-- Return the log identity: the server's system identifier, its timeline and, for a restored copy, the restore_id,
-- because two restores from the same backup have the same timeline. The statement fails on a standby.
-- The timeline is the one that the server writes to. pg_control_checkpoint() is not used, because it returns the
-- timeline of the last checkpoint. On a promoted standby that is the old primary's timeline until the first checkpoint
-- of the new primary is complete, some minutes later.
SELECT (SELECT system_identifier FROM pg_control_system()) || '-'
    || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
    || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '') AS identity
