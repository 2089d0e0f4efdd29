UPDATE saldo.sinks
SET holder = NULL, lease_until = '-infinity', failures = failures + ($3::text IS NOT NULL)::integer,
    last_failure = coalesce($3, last_failure),
    last_failure_at = CASE WHEN $3 IS NULL THEN last_failure_at ELSE clock_timestamp() END
WHERE name = $1 AND epoch = $2
RETURNING epoch
