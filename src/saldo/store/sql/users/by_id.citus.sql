SELECT u.id, u.name, u.created_at, e.balance
FROM saldo.users AS u
CROSS JOIN (
    SELECT t.balance FROM saldo.transactions AS t
    WHERE t.shard = ($1::bigint & 63)::smallint AND t.user_id = $1 ORDER BY t.number DESC LIMIT 1
) AS e
WHERE u.id = $1
