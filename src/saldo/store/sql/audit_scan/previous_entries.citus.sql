-- The variant of previous_entries.sql for a distributed ledger.
SELECT w.user_id, t.seq, t.number, t.balance,
    CASE
        WHEN isfinite(t.horizon) THEN (extract(epoch FROM t.horizon - '2000-01-01Z'::timestamptz) * 1000000)::bigint
        WHEN t.horizon < '2000-01-01Z' THEN -9223372036854775808
        ELSE 9223372036854775807
    END AS horizon
FROM (
    SELECT s.shard, wanted.user_id, (
        SELECT max(b.number) FROM saldo.transactions AS b
        WHERE b.shard = s.shard AND b.user_id = wanted.user_id AND b.number < wanted.number
    ) AS number
    FROM saldo.shards AS s
    JOIN unnest($1::bigint[], $2::bigint[]) AS wanted (user_id, number) ON s.shard = (wanted.user_id & 63)
) AS w
JOIN saldo.transactions AS t ON t.shard = w.shard AND t.user_id = w.user_id AND t.number = w.number
