-- Up to $3 dead events, or one, wait again, and are tried at once; so is what waits.
WITH chosen AS (
    SELECT id
    FROM saldo.webhook_deliveries
    WHERE webhook_id = $1 AND ($2::uuid IS NULL OR uuid = $2)
    -- The dead ones first: they are what is asked for.
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
