-- Transactions after the uuid $1 and up to $2 whose uuid another one has; by a key there are none, but see sql/distributed.
SELECT NULL::smallint AS shard, NULL::bigint AS seq, NULL::uuid AS uuid, NULL::bigint AS user_id, NULL::bigint AS number
WHERE $1::uuid <> $1::uuid AND $2::uuid IS NULL
