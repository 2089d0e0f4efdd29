-- Return webhooks with ids above $1; if $2 is not null, only the webhook with this id.
SELECT w.id, w.url, w.event_types, w.user_ids, w.created_at, w.disabled_at, w.disabled_reason, w.failing_since,
    w.attempts_succeeded, w.attempts_failed, w.last_failure, w.last_failure_at, pending.deliveries AS deliveries_pending,
    (
        SELECT count(*) FROM saldo.webhook_deliveries AS d WHERE d.webhook_id = w.id AND d.dead_at IS NOT NULL
    ) AS deliveries_dead,
    coalesce(extract(epoch FROM clock_timestamp() - pending.since), 0)::double precision AS oldest_pending_seconds
FROM saldo.webhooks AS w
CROSS JOIN LATERAL (
    SELECT count(*) AS deliveries, min(d.waiting_since) AS since
    FROM saldo.webhook_deliveries AS d WHERE d.webhook_id = w.id AND d.dead_at IS NULL
) AS pending
WHERE w.id > $1 AND ($2::bigint IS NULL OR w.id = $2)
ORDER BY w.id
LIMIT $3
