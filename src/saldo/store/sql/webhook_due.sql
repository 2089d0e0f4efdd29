-- The first event of each user that waits, without the users $2: up to $3, the most urgent first.
SELECT shard, seq, user_id, uuid, attempts,
    extract(epoch FROM due_at - clock_timestamp())::double precision AS seconds_left
FROM (
    SELECT DISTINCT ON (d.user_id) d.shard, d.seq, d.user_id, d.uuid, d.attempts,
        -- A clock that was ahead must not make it wait until then: what was tried in the future is due. By the last
        -- attempt: one that fails now is in the past, and the next is in its time.
        CASE WHEN coalesce(d.last_attempt_at, d.waiting_since) > clock_timestamp() THEN 'epoch'
            ELSE d.next_attempt_at END AS due_at
    FROM saldo.webhook_deliveries AS d
    WHERE d.webhook_id = $1 AND d.dead_at IS NULL AND d.user_id <> ALL ($2::bigint[])
    ORDER BY d.user_id, d.seq
) AS first
ORDER BY due_at
LIMIT $3
