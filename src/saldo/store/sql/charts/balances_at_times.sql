-- Return the balance of the user $1 at each of the times $2.
SELECT m.moment, b.balance
FROM unnest($2::timestamptz[]) AS m(moment)
CROSS JOIN LATERAL saldo.balance_2($1, m.moment, NULL) AS b
ORDER BY m.moment
