-- Store pending deliveries. Returns no row if the epoch of the sink is not the current one, or if $10 is not the
-- identity of this log (log/identity.sql).
WITH lease AS (
    SELECT name FROM saldo.sinks WHERE name = 'webhook-' || $1::bigint AND epoch = $2
        AND $10 = (SELECT system_identifier FROM pg_control_system()) || '-'
            || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
            || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '')
), put AS (
    INSERT INTO saldo.webhook_deliveries AS d (
        webhook_id, shard, seq, user_id, uuid, attempts, next_attempt_at, last_attempt_at, last_failure
    )
    SELECT $1, event.shard, event.seq, event.user_id, event.uuid, event.attempts,
        clock_timestamp() + event.delay, CASE WHEN event.attempts > 0 THEN clock_timestamp() END, event.failure
    FROM lease
    CROSS JOIN unnest(
        $3::smallint[], $4::bigint[], $5::bigint[], $6::uuid[], $7::integer[], $8::interval[], $9::text[]
    ) AS event (shard, seq, user_id, uuid, attempts, delay, failure)
    -- A delivery exists already in three cases. It is pending, because the cursor was not moved after it was stored.
    -- It is dead, and the cursor was moved back. Or another event had this position and was lost in a failover.
    ON CONFLICT (webhook_id, shard, seq) DO UPDATE
    SET user_id = excluded.user_id, uuid = excluded.uuid, dead_at = NULL, waiting_since = excluded.waiting_since, attempts = excluded.attempts,
        next_attempt_at = excluded.next_attempt_at, last_attempt_at = excluded.last_attempt_at,
        last_failure = excluded.last_failure
    WHERE d.dead_at IS NOT NULL OR d.uuid <> excluded.uuid
)
SELECT name FROM lease
