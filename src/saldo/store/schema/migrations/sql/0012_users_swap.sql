-- For some milliseconds with the table locked: nothing is read or built. Without the check, which would be made again for
-- each row (0012_users_check.sql does that); without the index of names by their beginning, which would be built again.
DROP INDEX IF EXISTS saldo.users_name_beginning;
DROP INDEX IF EXISTS saldo.users_name_prefix;
ALTER TABLE saldo.users DROP CONSTRAINT users_name_unique, DROP CONSTRAINT users_name_length;
ALTER TABLE saldo.users ALTER COLUMN name TYPE text COLLATE "C";
ALTER TABLE saldo.users ADD CONSTRAINT users_name_unique UNIQUE USING INDEX users_name_c;
ALTER TABLE saldo.users
    ADD CONSTRAINT users_name_length CHECK (char_length(name) BETWEEN 1 AND 200) NOT VALID;
