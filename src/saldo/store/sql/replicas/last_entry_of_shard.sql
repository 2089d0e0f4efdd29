-- Return the position of the last entry of the shard $1 up to the seq $2, with the columns of
-- replicas/last_entry_of_user.sql.
SELECT t.shard, t.seq, t.uuid, t.recorded_at, true AS known
FROM saldo.transactions AS t
WHERE t.shard = $1 AND t.seq <= $2
ORDER BY t.seq DESC
LIMIT 1
