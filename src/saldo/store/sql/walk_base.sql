-- The user's last entry before number $2 up to which nothing took effect after a moment: of at most $4 entries back.
-- $3: microseconds since 2000; hours apart, for a double holds no such number exactly when it is multiplied.
SELECT t.number, t.balance
FROM saldo.transactions AS t
WHERE t.user_id = $1 AND t.number < $2 AND t.number >= $2 - $4::bigint
    --citus AND t.shard = ($1::bigint & 63)::smallint
    AND t.horizon <= '2000-01-01Z'::timestamptz
        + $3::bigint / 3600000000 * interval '1 hour' + $3::bigint % 3600000000 * interval '1 microsecond'
ORDER BY t.number DESC
LIMIT 1
