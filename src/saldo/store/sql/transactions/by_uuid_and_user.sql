-- Return the transaction with the uuid $1 if it is the user $2's, in the columns of transactions/by_uuid.sql. On a
-- distributed ledger this queries one shard.
SELECT t.uuid, t.user_id, t.number, t.amount, t.balance, t."timestamp", t.recorded_at, t.outcome,
    t.outcome = 0 AND t."timestamp" < t.horizon AS late
FROM saldo.transactions AS t
WHERE t.uuid = $1 AND t.user_id = $2 AND t.kind <> 0
    --citus AND t.shard = ($2::bigint & 63)::smallint
