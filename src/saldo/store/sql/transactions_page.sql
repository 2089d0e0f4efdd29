-- $1 user; $2 and $3: numbers above and below these; $4 from, $5 to (half-open, null: open);
-- $6 kind, or null; $7 how many; $8 whether posted ones only or refused ones only, null: both.
SELECT t.uuid, t.user_id, t.number, t.amount, t.balance, t."timestamp", t.recorded_at, t.outcome,
    t.outcome = 0 AND t."timestamp" < t.horizon AS late
FROM saldo.transactions AS t
WHERE t.user_id = $1
    --citus AND t.shard = ($1::bigint & 63)::smallint
    AND t.number > $2
    AND t.number < $3
    AND t."timestamp" >= coalesce($4, '-infinity'::timestamptz)
    AND t."timestamp" < coalesce($5, 'infinity'::timestamptz)
    AND ($6::smallint IS NULL OR t.kind = $6)
    AND ($8::boolean IS NULL OR (t.outcome = 0) = $8)
ORDER BY t.number DESC
LIMIT $7
