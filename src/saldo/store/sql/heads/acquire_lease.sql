-- Take the lease for one publication if it is free, expired, or already held by $1, and if a publication is due: the
-- newest head is not published yet, or was published at least $3 ago, or $4 is true.
-- identity: see log/identity.sql.
UPDATE saldo.head_publication AS p
SET holder = $1, lease_until = clock_timestamp() + $2::interval
WHERE (p.lease_until < clock_timestamp() OR p.holder = $1)
    AND ($4::boolean OR NOT p.is_published OR p.published_at IS NULL
        OR p.published_at <= clock_timestamp() - $3::interval)
RETURNING p.ledger_id, p.document, p.is_published,
    (SELECT system_identifier FROM pg_control_system()) || '-'
        || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
        || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '') AS identity
