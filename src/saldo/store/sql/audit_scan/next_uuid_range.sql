-- Return the uuid at which the next range of uuids ends; no row if there is no further range. On one server there is
-- never a further range, because a unique key covers all uuids of the ledger; see audit_scan/next_uuid_range.citus.sql.
SELECT NULL::uuid AS uuid
WHERE $1::uuid IS NULL AND $2::smallint IS NULL AND $3::bigint IS NULL
