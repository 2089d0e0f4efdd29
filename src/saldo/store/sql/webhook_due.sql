-- The first event of each user that waits, without the users $2: up to $3, the most urgent first.
SELECT shard, seq, user_id, uuid, attempts,
    extract(epoch FROM next_attempt_at - clock_timestamp())::double precision AS seconds_left
FROM (
    SELECT DISTINCT ON (d.user_id) d.shard, d.seq, d.user_id, d.uuid, d.attempts, d.next_attempt_at
    FROM saldo.webhook_deliveries AS d
    WHERE d.webhook_id = $1 AND d.dead_at IS NULL AND d.user_id <> ALL ($2::bigint[])
    ORDER BY d.user_id, d.seq
) AS first
ORDER BY next_attempt_at
LIMIT $3
