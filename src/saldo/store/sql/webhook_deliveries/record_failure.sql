-- Record a failed attempt. The next one is after $4, or the delivery is dead if it is older than $5.
-- synchronous_commit is off, so that the statement does not wait for the disk. After a crash some attempts are
-- repeated.
UPDATE saldo.webhook_deliveries
SET attempts = attempts + 1, last_attempt_at = clock_timestamp(), next_attempt_at = clock_timestamp() + $4::interval,
    last_failure = $6, dead_at = CASE WHEN clock_timestamp() >= waiting_since + $5::interval THEN clock_timestamp() END
WHERE webhook_id = $1 AND shard = $2 AND seq = $3 AND dead_at IS NULL
    AND set_config('synchronous_commit', 'off', true) IS NOT NULL
RETURNING dead_at IS NOT NULL
