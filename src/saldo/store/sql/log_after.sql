-- Up to $3 entries of each shard after its position, in the order of each shard.
SELECT e.shard, e.seq, e.user_id, e.number, e.uuid, e.kind, e.outcome, e.amount, e.balance, e."timestamp", e.recorded_at,
    CASE WHEN e.kind = 0 THEN (SELECT u.name FROM saldo.users AS u WHERE u.id = e.user_id) END AS user_name
FROM unnest($1::smallint[], $2::bigint[]) AS position (shard, seq)
CROSS JOIN LATERAL (
    SELECT t.shard, t.seq, t.user_id, t.number, t.uuid, t.kind, t.outcome, t.amount, t.balance,
        -- The opening entry's is -infinity.
        CASE WHEN t.kind = 0 THEN t.recorded_at ELSE t."timestamp" END AS "timestamp", t.recorded_at
    FROM saldo.transactions AS t
    WHERE t.shard = position.shard AND t.seq > position.seq
    ORDER BY t.seq
    LIMIT $3
) AS e
ORDER BY e.shard, e.seq
