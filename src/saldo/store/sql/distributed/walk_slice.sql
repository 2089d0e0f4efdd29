-- Up to which uuid to look next: after $1 in the shard $2 the $3-th one; no row: there are not so many.
SELECT t.uuid FROM saldo.transactions AS t
WHERE t.shard = $2 AND t.uuid > $1
ORDER BY t.uuid OFFSET $3 LIMIT 1
