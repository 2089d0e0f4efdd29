-- Returns the size in bytes of all indexes, and of the indexes that new entries are written to.
SELECT sum(pg_relation_size(i.indexrelid))::bigint,
    sum(pg_relation_size(i.indexrelid)) FILTER (WHERE c.relname = ANY ($2::text[]))::bigint
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indrelid
WHERE c.relname = ANY ($1::text[])
