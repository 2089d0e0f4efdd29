-- Those of these users that there are not. Asked one by one: a join could be planned as one with all users.
SELECT wanted.id
FROM unnest($1::bigint[]) AS wanted (id)
WHERE (SELECT u.id FROM saldo.users AS u WHERE u.id = wanted.id) IS NULL
