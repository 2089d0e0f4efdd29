-- Return the transactions after the uuid $1 and up to $2 whose uuid another transaction has, too. On one server there
-- are none, because of a unique key; see audit_scan/duplicate_uuids.citus.sql.
SELECT NULL::smallint AS shard, NULL::bigint AS seq, NULL::uuid AS uuid, NULL::bigint AS user_id, NULL::bigint AS number
WHERE $1::uuid <> $1::uuid AND $2::uuid IS NULL
