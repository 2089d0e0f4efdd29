-- Return the rights by which the current role could alter history, beyond those that the service needs.
SELECT r.rolname AS role, r.rolsuper AS superuser, pg_has_role(c.relowner, 'MEMBER') AS owner,
    has_table_privilege(c.oid, 'UPDATE') OR has_table_privilege(c.oid, 'DELETE')
        OR has_table_privilege(c.oid, 'TRUNCATE') OR has_table_privilege(c.oid, 'TRIGGER') AS alters
FROM pg_class AS c
JOIN pg_roles AS r ON r.rolname = current_user
WHERE c.oid IN ('saldo.transactions'::regclass, 'saldo.seals'::regclass)
ORDER BY alters DESC
LIMIT 1
