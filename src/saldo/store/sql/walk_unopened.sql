-- Of the $2 users after $1: the last one looked at, how many they were, and who of them has no opening entry.
SELECT max(page.id) AS last, count(*) AS looked_at,
    coalesce(array_agg(page.id ORDER BY page.id) FILTER (WHERE NOT EXISTS (
        SELECT FROM saldo.transactions AS t WHERE t.user_id = page.id AND t.number = 0
    )), '{}') AS unopened
FROM (SELECT u.id FROM saldo.users AS u WHERE u.id > $1 ORDER BY u.id LIMIT $2) AS page
