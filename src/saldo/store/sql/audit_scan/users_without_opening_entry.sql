-- Look at the next $2 users after the id $1. Return the last of their ids, their number, and the ids of those without
-- an opening entry.
SELECT max(page.id) AS last, count(*) AS looked_at,
    coalesce(array_agg(page.id ORDER BY page.id) FILTER (WHERE NOT EXISTS (
        SELECT FROM saldo.transactions AS t WHERE t.user_id = page.id AND t.number = 0
    )), '{}') AS unopened
FROM (SELECT u.id FROM saldo.users AS u WHERE u.id > $1 ORDER BY u.id LIMIT $2) AS page
