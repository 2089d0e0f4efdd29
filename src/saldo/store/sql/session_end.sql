-- The session $1 is over.
DELETE FROM saldo.console_sessions AS s WHERE s.hash = $1
