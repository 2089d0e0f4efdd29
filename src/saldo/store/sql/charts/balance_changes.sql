-- Return the changes of the user $1's balance after $4 and until $5, in the order in which they took effect.
-- Entries that were on time have numbers above $2 and up to $3 (charts/number_bounds.sql), because their horizon is
-- their own timestamp, and the horizon never decreases along number.
SELECT c."timestamp", c.amount
FROM (
    SELECT t."timestamp", t.number, t.amount FROM saldo.transactions AS t
    WHERE t.user_id = $1 AND t.number > $2 AND t.number <= $3
        --citus AND t.shard = ($1::bigint & 63)::smallint
        AND t.outcome = 0 AND t."timestamp" >= t.horizon
    UNION ALL
    SELECT t."timestamp", t.number, t.amount FROM saldo.transactions AS t
    WHERE t.user_id = $1 AND t.outcome = 0 AND t."timestamp" < t.horizon
        --citus AND t.shard = ($1::bigint & 63)::smallint
        AND t."timestamp" > $4 AND t."timestamp" <= $5 AND t.horizon > $4
) AS c
ORDER BY c."timestamp", c.number
