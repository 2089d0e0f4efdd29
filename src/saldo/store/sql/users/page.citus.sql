-- Return a page of users with ids above $1. $2: the name, or null for all. $3: the limit.
WITH page AS MATERIALIZED (
    SELECT v.id, v.name, v.created_at FROM saldo.users AS v
    WHERE v.id > $1 AND ($2::text IS NULL OR v.name = $2)
    ORDER BY v.id LIMIT $3
)
SELECT u.id, u.name, u.created_at, u.balance
FROM (
    SELECT u.id, u.name, u.created_at, (
        SELECT t.balance FROM saldo.transactions AS t
        WHERE t.shard = s.shard AND t.user_id = u.id ORDER BY t.number DESC LIMIT 1
    ) AS balance
    FROM saldo.shards AS s JOIN page AS u ON s.shard = (u.id & 63)
) AS u
ORDER BY u.id
