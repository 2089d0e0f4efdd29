-- Return the uuid at which the next range of uuids ends: of the shard $2, the uuid that follows $3 others after $1.
-- Returns no row if there are not so many.
SELECT t.uuid FROM saldo.transactions AS t
WHERE t.shard = $2 AND t.uuid > $1
ORDER BY t.uuid OFFSET $3 LIMIT 1
