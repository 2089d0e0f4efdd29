-- Return the first pending delivery of each user except the users $2, up to $3, in the order of their next attempts.
SELECT shard, seq, user_id, uuid, attempts,
    extract(epoch FROM due_at - clock_timestamp())::double precision AS seconds_left
FROM (
    SELECT DISTINCT ON (d.user_id) d.shard, d.seq, d.user_id, d.uuid, d.attempts,
        -- If the last attempt is in the future, the clock was ahead then, and the delivery is due now. After one more
        -- failure the last attempt is in the past, so that the next attempt is made at its regular time.
        CASE WHEN coalesce(d.last_attempt_at, d.waiting_since) > clock_timestamp() THEN 'epoch'
            ELSE d.next_attempt_at END AS due_at
    FROM saldo.webhook_deliveries AS d
    WHERE d.webhook_id = $1 AND d.dead_at IS NULL AND d.user_id <> ALL ($2::bigint[])
    ORDER BY d.user_id, d.seq
) AS first
ORDER BY due_at
LIMIT $3
