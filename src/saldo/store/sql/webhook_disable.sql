UPDATE saldo.webhooks
SET disabled_at = clock_timestamp(), disabled_reason = $2
WHERE id = $1 AND disabled_at IS NULL
RETURNING id
