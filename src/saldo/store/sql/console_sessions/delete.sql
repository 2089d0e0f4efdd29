-- Delete the session $1.
DELETE FROM saldo.console_sessions AS s WHERE s.hash = $1
