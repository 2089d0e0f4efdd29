-- Return the last migration that was run.
SELECT version_num FROM saldo.migrations
