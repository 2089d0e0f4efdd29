-- What a session of this role begins with, where it isn't what Saldo needs. Behind a pooler that
-- shares connections, any session may be such a one (session.sql was run in another).
-- synchronous_commit is not asked: what must be durable sets it itself (post.sql, create_user.sql).
SELECT s.name, s.reset_val AS found, n.value AS needed
FROM (VALUES
    ('default_transaction_isolation', 'read committed'),
    ('default_transaction_read_only', 'off')
) AS n(name, value)
JOIN pg_settings AS s USING (name)
WHERE s.reset_val <> n.value
ORDER BY s.name
