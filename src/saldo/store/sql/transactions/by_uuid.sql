-- Return the transactions with the uuids $1. Opening entries are left out, because no client posted them.
SELECT t.uuid, t.user_id, t.number, t.amount, t.balance, t."timestamp", t.recorded_at, t.outcome,
    t.outcome = 0 AND t."timestamp" < t.horizon AS late
FROM unnest($1::uuid[]) AS q(uuid)
JOIN saldo.transactions AS t ON t.uuid = q.uuid
WHERE t.kind <> 0
