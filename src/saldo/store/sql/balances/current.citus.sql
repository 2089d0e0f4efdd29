-- Return the current balances of the users $1. The balance of a user that does not exist is null.
SELECT u.id, (
    SELECT t.balance FROM saldo.transactions AS t
    WHERE t.shard = u.shard AND t.user_id = u.id ORDER BY t.number DESC LIMIT 1
) AS balance
FROM (
    SELECT s.shard, wanted.id FROM saldo.shards AS s JOIN unnest($1::bigint[]) AS wanted(id) ON s.shard = (wanted.id & 63)
) AS u
