-- Return the position of the user $1's last entry below the number $2 (null for no bound), and the values that identify
-- the entry at this position. known: whether nothing more can be recorded in the shard up to $3, because the shard has
-- an entry that was recorded later; true if $3 is null.
SELECT t.shard, t.seq, t.uuid, t.recorded_at,
    $3::timestamptz IS NULL OR (
        SELECT h.recorded_at FROM saldo.transactions AS h
        WHERE h.shard = ($1::bigint & 63)::smallint ORDER BY h.seq DESC LIMIT 1
    ) > $3 AS known
FROM saldo.transactions AS t
WHERE t.user_id = $1
    --citus AND t.shard = ($1::bigint & 63)::smallint
    AND t.number < coalesce($2::bigint, 9223372036854775807)
ORDER BY t.number DESC
LIMIT 1
