-- Return those of the users $1 that have ids above $2, by id, at most $3.
WITH page AS MATERIALIZED (
    SELECT v.id, v.name, v.created_at FROM saldo.users AS v
    WHERE v.id = ANY ($1::bigint[]) AND v.id > $2
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
