-- Record that the broker blocks publishing now, and the reason. This is not counted as a failure, because no event was
-- rejected or lost. sinks/status.sql recognizes the text by its beginning.
UPDATE saldo.sinks
SET last_failure = 'blocked: ' || $3::text, last_failure_at = clock_timestamp()
WHERE name = $1 AND epoch = $2
