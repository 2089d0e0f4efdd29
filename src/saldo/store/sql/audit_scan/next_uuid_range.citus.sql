-- Return the uuid at which the next range of uuids ends. The range begins after $1, and contains $3 uuids of the shard
-- $2 before its end. Returns no row if the shard has no more than $3 further uuids.
SELECT t.uuid FROM saldo.transactions AS t
WHERE t.shard = $2 AND t.uuid > $1
ORDER BY t.uuid OFFSET $3 LIMIT 1
