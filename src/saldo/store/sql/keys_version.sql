-- The last change of the keys.
SELECT version FROM saldo.keys_version
