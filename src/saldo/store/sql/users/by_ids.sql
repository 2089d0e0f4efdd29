-- Return those of the users $1 that have ids above $2, by id, at most $3.
SELECT u.id, u.name, u.created_at, e.balance
FROM (
    SELECT v.id, v.name, v.created_at FROM saldo.users AS v
    WHERE v.id = ANY ($1::bigint[]) AND v.id > $2
    ORDER BY v.id LIMIT $3
) AS u
CROSS JOIN LATERAL (
    SELECT t.balance FROM saldo.transactions AS t
    WHERE t.user_id = u.id ORDER BY t.number DESC LIMIT 1
) AS e
ORDER BY u.id
