-- Make up to $3 deliveries due now, all or those of one uuid. Dead ones become pending again.
WITH chosen AS (
    SELECT id
    FROM saldo.webhook_deliveries
    WHERE webhook_id = $1 AND ($2::uuid IS NULL OR uuid = $2)
    -- Dead deliveries come first, because the caller asks for these.
    ORDER BY dead_at IS NULL, id
    LIMIT $3
)
UPDATE saldo.webhook_deliveries AS d
SET dead_at = NULL, next_attempt_at = clock_timestamp(),
    waiting_since = CASE WHEN d.dead_at IS NULL THEN d.waiting_since ELSE clock_timestamp() END,
    attempts = CASE WHEN d.dead_at IS NULL THEN d.attempts ELSE 0 END
FROM chosen
WHERE d.webhook_id = $1 AND d.id = chosen.id
RETURNING d.id
