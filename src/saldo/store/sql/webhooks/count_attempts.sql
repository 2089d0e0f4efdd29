-- Count attempts, and return whether no attempt has succeeded for the duration $5.
-- synchronous_commit is off, so that the statement does not wait for the disk. Counts that a crash loses are
-- unimportant.
UPDATE saldo.webhooks
SET attempts_succeeded = attempts_succeeded + $2::bigint, attempts_failed = attempts_failed + $3::bigint,
    failing_since = CASE WHEN $2 > 0 THEN NULL WHEN $3 > 0 THEN coalesce(failing_since, clock_timestamp())
        ELSE failing_since END,
    last_failure = coalesce($4, last_failure),
    last_failure_at = CASE WHEN $4 IS NULL THEN last_failure_at ELSE clock_timestamp() END
WHERE id = $1 AND set_config('synchronous_commit', 'off', true) IS NOT NULL
RETURNING $2 = 0 AND coalesce(clock_timestamp() >= failing_since + $5::interval, false)
