-- Of the user $1 the numbers between which everything stands that took effect on time after $2 and until $3, and how many late
-- entries there are at all, $4 at most.
SELECT saldo.number_at_1($1, $2, head.last) AS above, saldo.number_at_1($1, $3, head.last) AS last,
    (
        SELECT count(*) FROM (
            SELECT FROM saldo.transactions AS t
            WHERE t.user_id = $1 AND t.outcome = 0 AND t."timestamp" < t.horizon
            -- The order of the index of late entries: a user has few of them, and perhaps a million others.
            ORDER BY t.horizon, t."timestamp" LIMIT $4
        ) AS some_of_them
    ) AS late
FROM (
    SELECT e.number AS last FROM saldo.transactions AS e
    WHERE e.user_id = $1 ORDER BY e.number DESC LIMIT 1
) AS head
