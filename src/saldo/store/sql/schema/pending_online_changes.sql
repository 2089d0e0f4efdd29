-- Return the pending changes of saldo.users (saldo.store.schema.online_changes). invalid: the indexes that an
-- interrupted attempt left incomplete.
SELECT
    (
        SELECT coalesce(array_agg(c.relname::text ORDER BY c.relname), '{}')
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = 'saldo.users'::regclass AND NOT i.indisvalid
            AND c.relname IN ('users_name_c', 'users_name_prefix')
    ) AS invalid,
    a.attcollation <> 'pg_catalog."C"'::regcollation AS collation,
    NOT EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indexrelid = to_regclass('saldo.users_name_c') AND i.indisvalid
    ) AS key,
    NOT EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indexrelid = to_regclass('saldo.users_name_prefix') AND i.indisvalid
    ) AS prefix,
    NOT EXISTS (
        SELECT FROM pg_constraint AS n
        WHERE n.conrelid = a.attrelid AND n.conname = 'users_name_length' AND n.convalidated
    ) AS checked
FROM pg_attribute AS a
WHERE a.attrelid = 'saldo.users'::regclass AND a.attname = 'name'
