-- Opening entries are the ledger's own, not a client's transaction.
SELECT t.uuid, t.user_id, t.number, t.amount, t.balance, t."timestamp", t.recorded_at, t.outcome,
    t.outcome = 0 AND t."timestamp" < t.horizon AS late
FROM unnest($1::uuid[]) AS q(uuid)
JOIN saldo.transactions AS t ON t.uuid = q.uuid
WHERE t.kind <> 0
