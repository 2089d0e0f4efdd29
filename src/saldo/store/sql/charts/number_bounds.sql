-- Return the bounds of the numbers of all entries of the user $1 that took effect after $2 and until $3 and were on
-- time (above is exclusive). late: the count of all late entries of the user, at most $4.
SELECT saldo.number_at_1($1, $2, head.last) AS above, saldo.number_at_1($1, $3, head.last) AS last,
    (
        SELECT count(*) FROM (
            SELECT FROM saldo.transactions AS t
            WHERE t.user_id = $1 AND t.outcome = 0 AND t."timestamp" < t.horizon
            -- The order makes PostgreSQL use the index of late entries. A user has few late entries, and may have a
            -- million others.
            ORDER BY t.horizon, t."timestamp" LIMIT $4
        ) AS some_of_them
    ) AS late
FROM (
    SELECT e.number AS last FROM saldo.transactions AS e
    WHERE e.user_id = $1 ORDER BY e.number DESC LIMIT 1
) AS head
