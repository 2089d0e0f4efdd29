-- Webhooks with greater ids than $1, or only that of the id $2 if it is given.
SELECT w.id, w.url, w.event_types, w.user_ids, w.created_at, w.disabled_at, w.disabled_reason, w.failing_since,
    w.attempts_succeeded, w.attempts_failed, w.last_failure, w.last_failure_at,
    (
        SELECT count(*) FROM saldo.webhook_deliveries AS d WHERE d.webhook_id = w.id AND d.dead_at IS NULL
    ) AS deliveries_waiting,
    (
        SELECT count(*) FROM saldo.webhook_deliveries AS d WHERE d.webhook_id = w.id AND d.dead_at IS NOT NULL
    ) AS deliveries_dead
FROM saldo.webhooks AS w
WHERE w.id > $1 AND ($2::bigint IS NULL OR w.id = $2)
ORDER BY w.id
LIMIT $3
