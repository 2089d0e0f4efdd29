-- $1 user; $2 and $3: numbers above and below these; $4 from, $5 to (half-open, null: open);
-- $6 kind, or null; $7 how many.
SELECT t.uuid, t.user_id, t.number, t.amount, t.balance, t."timestamp", t.recorded_at, t.outcome
FROM saldo.transactions AS t
WHERE t.user_id = $1
    AND t.number > $2
    AND t.number < $3
    AND t."timestamp" >= coalesce($4, '-infinity'::timestamptz)
    AND t."timestamp" < coalesce($5, 'infinity'::timestamptz)
    AND ($6::smallint IS NULL OR t.kind = $6)
ORDER BY t.number DESC
LIMIT $7
