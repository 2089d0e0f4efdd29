-- synchronous_commit: counts that a crash forgets are no loss, and nobody waits for the disk.
-- Counts attempts; whether none has succeeded for as long as $5.
UPDATE saldo.webhooks
SET attempts_succeeded = attempts_succeeded + $2::bigint, attempts_failed = attempts_failed + $3::bigint,
    failing_since = CASE WHEN $2 > 0 THEN NULL WHEN $3 > 0 THEN coalesce(failing_since, clock_timestamp())
        ELSE failing_since END,
    last_failure = coalesce($4, last_failure),
    last_failure_at = CASE WHEN $4 IS NULL THEN last_failure_at ELSE clock_timestamp() END
WHERE id = $1 AND set_config('synchronous_commit', 'off', true) IS NOT NULL
RETURNING $2 = 0 AND coalesce(clock_timestamp() >= failing_since + $5::interval, false)
