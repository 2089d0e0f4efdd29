-- Return the user $1's last entry before the number $2 whose horizon is not after a time, among the last $4 entries.
-- $3: the time in microseconds since 2000. Hours are added separately, because the multiplication of an interval uses a
-- double, which can't represent such a number exactly.
SELECT t.number, t.balance
FROM saldo.transactions AS t
WHERE t.user_id = $1 AND t.number < $2 AND t.number >= $2 - $4::bigint
    --citus AND t.shard = ($1::bigint & 63)::smallint
    AND t.horizon <= '2000-01-01Z'::timestamptz
        + $3::bigint / 3600000000 * interval '1 hour' + $3::bigint % 3600000000 * interval '1 microsecond'
ORDER BY t.number DESC
LIMIT 1
