-- Return the first pending delivery of each user except the users $2, up to $3, in the order of their next attempts.
SELECT shard, seq, user_id, uuid, attempts,
    extract(epoch FROM due_at - clock_timestamp())::double precision AS seconds_left
FROM (
    SELECT DISTINCT ON (d.user_id) d.shard, d.seq, d.user_id, d.uuid, d.attempts,
        -- If the clock was ahead at the last attempt, the delivery is due now and does not wait until that time. The
        -- last attempt decides: after another failure it is in the past, and the next attempt is at its regular time.
        CASE WHEN coalesce(d.last_attempt_at, d.waiting_since) > clock_timestamp() THEN 'epoch'
            ELSE d.next_attempt_at END AS due_at
    FROM saldo.webhook_deliveries AS d
    WHERE d.webhook_id = $1 AND d.dead_at IS NULL AND d.user_id <> ALL ($2::bigint[])
    ORDER BY d.user_id, d.seq
) AS first
ORDER BY due_at
LIMIT $3
