-- Record the current time as the last use of the session $1.
UPDATE saldo.console_sessions AS s SET used_at = clock_timestamp() WHERE s.hash = $1
