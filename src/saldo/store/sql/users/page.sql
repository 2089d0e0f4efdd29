-- Return a page of users with ids above $1. $2: the name, or null for all. $3: the limit.
SELECT u.id, u.name, u.created_at, e.balance
FROM (
    SELECT v.id, v.name, v.created_at FROM saldo.users AS v
    WHERE v.id > $1 AND ($2::text IS NULL OR v.name = $2)
    ORDER BY v.id LIMIT $3
) AS u
CROSS JOIN LATERAL (
    SELECT t.balance FROM saldo.transactions AS t
    WHERE t.user_id = u.id ORDER BY t.number DESC LIMIT 1
) AS e
ORDER BY u.id
