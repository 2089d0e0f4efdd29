SELECT u.id, u.name, u.created_at, e.balance
FROM saldo.users AS u
CROSS JOIN LATERAL (
    SELECT t.balance FROM saldo.transactions AS t
    WHERE t.user_id = u.id ORDER BY t.number DESC LIMIT 1
) AS e
WHERE u.id = $1
