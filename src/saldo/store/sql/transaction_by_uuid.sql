-- Opening entries are the ledger's own, not a client's transaction.
SELECT t.uuid, t.user_id, t.number, t.amount, t.balance, t."timestamp", t.recorded_at, t.outcome
FROM saldo.transactions AS t
WHERE t.uuid = $1 AND t.kind <> 0
