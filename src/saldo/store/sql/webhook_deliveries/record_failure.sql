-- Record a failed attempt. The next attempt is made after $4. If the delivery is older than $5, it becomes dead
-- instead.
-- synchronous_commit is off, so that the statement does not wait for the disk. After a crash some attempts are
-- repeated.
UPDATE saldo.webhook_deliveries
SET attempts = attempts + 1, last_attempt_at = clock_timestamp(), next_attempt_at = clock_timestamp() + $4::interval,
    last_failure = $6, dead_at = CASE WHEN clock_timestamp() >= waiting_since + $5::interval THEN clock_timestamp() END
WHERE webhook_id = $1 AND shard = $2 AND seq = $3 AND dead_at IS NULL
    AND set_config('synchronous_commit', 'off', true) IS NOT NULL
RETURNING dead_at IS NOT NULL
