-- The roles of the embedded server; docs/howto/postgresql.md has the same for your own.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'saldo_owner') THEN
        CREATE ROLE saldo_owner LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'saldo') THEN
        CREATE ROLE saldo LOGIN;
    END IF;
END
$$
