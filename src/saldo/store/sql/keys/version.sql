-- Return the version of the last change of the keys.
SELECT version FROM saldo.keys_version
