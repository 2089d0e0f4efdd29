-- Return whether this server has the primary's entry at the shard $1 and seq $2 ($3 uuid, $4 recorded_at), and so all
-- entries before it.
SELECT EXISTS (
    SELECT FROM saldo.transactions AS t
    WHERE t.shard = $1 AND t.seq = $2 AND t.uuid = $3 AND t.recorded_at = $4
) AS holds
