-- Return the user ids that do not exist. There is a subquery for each id, because the planner could run a join over all
-- users.
SELECT wanted.id
FROM unnest($1::bigint[]) AS wanted (id)
WHERE (SELECT u.id FROM saldo.users AS u WHERE u.id = wanted.id) IS NULL
