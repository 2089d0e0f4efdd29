-- One migration at a time, whoever starts it; released with the transaction.
SELECT pg_advisory_xact_lock(hashtext('saldo.migrations'))
