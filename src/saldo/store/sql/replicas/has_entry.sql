-- Return whether this server has the same entry as the primary at the shard $1 and the seq $2 ($3: uuid, $4:
-- recorded_at). If so, it also has all entries before that one.
SELECT EXISTS (
    SELECT FROM saldo.transactions AS t
    WHERE t.shard = $1 AND t.seq = $2 AND t.uuid = $3 AND t.recorded_at = $4
) AS holds
