-- Reads the table, and blocks nobody.
ALTER TABLE saldo.users VALIDATE CONSTRAINT users_name_length
