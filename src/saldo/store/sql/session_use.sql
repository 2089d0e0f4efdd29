-- The session $1 is in use.
UPDATE saldo.console_sessions AS s SET used_at = clock_timestamp() WHERE s.hash = $1
