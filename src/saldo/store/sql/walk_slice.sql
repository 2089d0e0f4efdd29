-- Up to which uuid to look next: after $1 in the shard $2 the $3-th one; no row: there are not so many.
-- A uuid is one transaction's in the whole ledger by a key, so that there is nothing to look for; but see sql/distributed.
SELECT NULL::uuid AS uuid
WHERE $1::uuid IS NULL AND $2::smallint IS NULL AND $3::bigint IS NULL
