-- Return the transactions after the uuid $1 and up to $2 whose uuid a transaction of another shard has, too. The unique
-- keys of a distributed ledger can't prevent this.
WITH twice AS MATERIALIZED (
    SELECT t.uuid FROM saldo.transactions AS t
    WHERE t.uuid > $1 AND t.uuid <= $2 AND t.kind <> 0
    GROUP BY t.uuid HAVING count(*) > 1
)
SELECT t.shard, t.seq, t.uuid, t.user_id, t.number
FROM saldo.transactions AS t
JOIN twice ON twice.uuid = t.uuid
WHERE t.kind <> 0
ORDER BY t.uuid, t.shard
