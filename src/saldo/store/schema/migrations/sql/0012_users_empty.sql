-- A table without users: nothing to wait for. As the files 0012_users_*, which saldo.store.online runs.
DROP INDEX IF EXISTS saldo.users_name_beginning;
ALTER TABLE saldo.users ALTER COLUMN name TYPE text COLLATE "C";
CREATE INDEX users_name_prefix ON saldo.users ((lower(name COLLATE "default") COLLATE "C"), id);
