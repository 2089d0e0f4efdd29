-- synchronous_commit: what a crash forgets is tried once more, and nobody waits for the disk.
-- One attempt more that failed: tried again after $4, or dead when it has waited for as long as $5.
UPDATE saldo.webhook_deliveries
SET attempts = attempts + 1, last_attempt_at = clock_timestamp(), next_attempt_at = clock_timestamp() + $4::interval,
    last_failure = $6, dead_at = CASE WHEN clock_timestamp() >= waiting_since + $5::interval THEN clock_timestamp() END
WHERE webhook_id = $1 AND shard = $2 AND seq = $3 AND dead_at IS NULL
    AND set_config('synchronous_commit', 'off', true) IS NOT NULL
RETURNING dead_at IS NOT NULL
