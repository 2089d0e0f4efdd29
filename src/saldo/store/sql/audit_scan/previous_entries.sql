-- Return each user's last entry below the given number. horizon: microseconds since 2000, or the least or greatest
-- bigint for infinity.
SELECT wanted.user_id, e.seq, e.number, e.balance,
    CASE
        WHEN isfinite(e.horizon) THEN (extract(epoch FROM e.horizon - '2000-01-01Z'::timestamptz) * 1000000)::bigint
        WHEN e.horizon < '2000-01-01Z' THEN -9223372036854775808
        ELSE 9223372036854775807
    END AS horizon
FROM unnest($1::bigint[], $2::bigint[]) AS wanted (user_id, number)
CROSS JOIN LATERAL (
    SELECT t.seq, t.number, t.balance, t.horizon
    FROM saldo.transactions AS t
    WHERE t.user_id = wanted.user_id AND t.number < wanted.number
    ORDER BY t.number DESC
    LIMIT 1
) AS e
