-- Move cursors and renew the lease. Returns no row if the epoch $2 is not the current one, or if $8 is not the identity
-- of this log (log/identity.sql). Entries that were read before a failover may be missing after it.
-- synchronous_commit is off, so that no commit of a batch waits for this. After a crash some events are published
-- again.
WITH lease AS (
    UPDATE saldo.sinks
    SET lease_until = clock_timestamp() + $3::interval,
        events_published = events_published + $6, events_unrouted = events_unrouted + $7
    WHERE name = $1 AND epoch = $2 AND set_config('synchronous_commit', 'off', true) IS NOT NULL
        AND $8 = (SELECT system_identifier FROM pg_control_system()) || '-'
            || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
            || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '')
    RETURNING name, epoch
), moved AS (
    UPDATE saldo.cursors AS c
    SET seq = published.seq
    FROM lease CROSS JOIN unnest($4::smallint[], $5::bigint[]) AS published (shard, seq)
    WHERE c.sink = lease.name AND c.shard = published.shard
)
SELECT epoch FROM lease
