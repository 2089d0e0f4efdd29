-- Return the current balances of the users $1. A user that does not exist has no row.
SELECT u.id, e.balance
FROM unnest($1::bigint[]) AS u(id)
CROSS JOIN LATERAL (
    SELECT t.balance FROM saldo.transactions AS t
    WHERE t.user_id = u.id ORDER BY t.number DESC LIMIT 1
) AS e
