-- Return the indexes of the schema.
SELECT c.relname AS name, i.indisvalid AND i.indisready AND i.indislive AS valid, i.indisunique AS is_unique
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'saldo'::regnamespace
