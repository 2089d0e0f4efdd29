-- Store a new head $2 with the number $1. Returns no row if another process has the lease, if the head before is not the
-- one with the SHA-256 $3 (empty for none), or if the identity of the log is no longer $4.
-- synchronous_commit is set as in seals/append.sql, because a number must never be given twice.
UPDATE saldo.head_publication
SET number = $1, document = $2, is_published = false
WHERE set_config('synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
        true) IS NOT NULL
    AND number = $1 - 1 AND is_published AND coalesce(sha256(document), '') = $3
    AND holder = $5 AND lease_until > clock_timestamp()
    AND $4 = (SELECT system_identifier FROM pg_control_system()) || '-'
        || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
        || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '')
RETURNING number
