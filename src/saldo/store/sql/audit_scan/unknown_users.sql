-- Return the user ids that do not exist. This is a subquery for each id, because the planner could turn a join into one
-- with all users.
SELECT wanted.id
FROM unnest($1::bigint[]) AS wanted (id)
WHERE (SELECT u.id FROM saldo.users AS u WHERE u.id = wanted.id) IS NULL
