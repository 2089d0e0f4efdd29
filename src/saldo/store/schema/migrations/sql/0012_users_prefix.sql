-- Names by their beginning, whatever the case as far as the database's locale knows it, in the order of their bytes.
CREATE INDEX CONCURRENTLY users_name_prefix ON saldo.users ((lower(name COLLATE "default") COLLATE "C"), id)
