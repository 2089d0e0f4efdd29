-- Return the functions of the schema with their bodies and settings, and whether they run with their owner's rights.
SELECT p.proname AS name, p.prosrc AS body, coalesce(p.proconfig, '{}') AS settings, p.prosecdef AS as_owner
FROM pg_proc AS p
WHERE p.pronamespace = 'saldo'::regnamespace
ORDER BY p.proname, p.oid
