-- Whether this server has the entry that the primary has at the place $1, $2 ($3 uuid, $4 recorded_at), and so all before it.
SELECT EXISTS (
    SELECT FROM saldo.transactions AS t
    WHERE t.shard = $1 AND t.seq = $2 AND t.uuid = $3 AND t.recorded_at = $4
) AS holds
