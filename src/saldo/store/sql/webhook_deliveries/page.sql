-- Return a webhook's deliveries with ids above $2: dead ones if $3 is true, pending ones if it is false, all if it is
-- null.
SELECT id, uuid, user_id, shard, seq, attempts, waiting_since AS pending_since, next_attempt_at, last_attempt_at,
    last_failure, dead_at
FROM saldo.webhook_deliveries
WHERE webhook_id = $1 AND id > $2 AND ($3::boolean IS NULL OR (dead_at IS NOT NULL) = $3)
ORDER BY id
LIMIT $4
