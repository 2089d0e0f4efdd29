-- Where the last entry of the user $1 below the number $2 (null: of all) stands in the log, and what tells it from another
-- that could stand there. And whether nothing is recorded in its shard by $3 any more: something was recorded later.
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
