-- Return the session defaults of this role that differ from those that Saldo needs. Behind a pooler that shares
-- connections, a statement may run in a session in which connections/configure_session.sql was not run.
-- synchronous_commit is not checked, because statements that must be durable set it themselves (transactions/call_post_function.sql,
-- users/create.sql).
SELECT s.name, s.reset_val AS found, n.value AS needed
FROM (VALUES
    ('default_transaction_isolation', 'read committed'),
    ('default_transaction_read_only', 'off')
) AS n(name, value)
JOIN pg_settings AS s USING (name)
WHERE s.reset_val <> n.value
ORDER BY s.name
