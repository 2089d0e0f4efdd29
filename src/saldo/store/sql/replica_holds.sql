-- Whether this server has the entry that the primary has at the place $1, $2 ($3 uuid, $4 recorded_at), and so all before it;
-- and, unless $5 is null, all that is recorded in the shard by then: something was recorded later.
SELECT EXISTS (
        SELECT FROM saldo.transactions AS t
        WHERE t.shard = $1 AND t.seq = $2 AND t.uuid = $3 AND t.recorded_at = $4
    ) AS holds,
    $5::timestamptz IS NULL OR $5 < clock_timestamp() AND (
        SELECT t.recorded_at FROM saldo.transactions AS t WHERE t.shard = $1 ORDER BY t.seq DESC LIMIT 1
    ) > $5 AS knows
