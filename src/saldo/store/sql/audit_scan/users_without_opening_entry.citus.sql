-- The variant of users_without_opening_entry.sql for a distributed ledger.
WITH page AS MATERIALIZED (
    SELECT u.id FROM saldo.users AS u WHERE u.id > $1 ORDER BY u.id LIMIT $2
), opened AS MATERIALIZED (
    SELECT t.user_id
    FROM saldo.shards AS s
    JOIN page ON s.shard = (page.id & 63)
    JOIN saldo.transactions AS t ON t.shard = s.shard AND t.user_id = page.id AND t.number = 0
)
SELECT max(page.id) AS last, count(*) AS looked_at,
    coalesce(array_agg(page.id ORDER BY page.id) FILTER (WHERE opened.user_id IS NULL), '{}') AS unopened
FROM page
LEFT JOIN opened ON opened.user_id = page.id
