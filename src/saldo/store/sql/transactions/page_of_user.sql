-- Return a page of the user $1's transactions. $2 and $3: the bounds of the number (both exclusive). $4 and $5: the
-- bounds of the timestamp (half-open, null for none). $6: the kind, or null. $7: the limit. $8: true for posted ones
-- only, false for refused ones only, null for both.
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
