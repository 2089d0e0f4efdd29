-- The key to be. Without blocking anybody, and so not in a transaction.
CREATE UNIQUE INDEX CONCURRENTLY users_name_c ON saldo.users (name COLLATE "C")
