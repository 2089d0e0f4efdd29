-- Return up to $4 pending deliveries of a user after the position $3, in order. For the columns and for the treatment
-- of the clock see webhook_deliveries/first_pending.sql.
SELECT d.shard, d.seq, d.user_id, d.uuid, d.attempts,
    extract(epoch FROM
        CASE WHEN coalesce(d.last_attempt_at, d.waiting_since) > clock_timestamp() THEN 'epoch'
            ELSE d.next_attempt_at END - clock_timestamp())::double precision AS seconds_left
FROM saldo.webhook_deliveries AS d
WHERE d.webhook_id = $1 AND d.user_id = $2 AND d.seq > $3 AND d.dead_at IS NULL
ORDER BY d.seq
LIMIT $4
