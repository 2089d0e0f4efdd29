-- Create the roles of the embedded server. For other servers see docs/howto/postgresql.md.
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
