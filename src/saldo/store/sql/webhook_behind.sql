-- What waits behind position $3 of a user's events, in order: up to $4. Columns and the clock's rule as in webhook_due.
SELECT d.shard, d.seq, d.user_id, d.uuid, d.attempts,
    extract(epoch FROM
        CASE WHEN coalesce(d.last_attempt_at, d.waiting_since) > clock_timestamp() THEN 'epoch'
            ELSE d.next_attempt_at END - clock_timestamp())::double precision AS seconds_left
FROM saldo.webhook_deliveries AS d
WHERE d.webhook_id = $1 AND d.user_id = $2 AND d.seq > $3 AND d.dead_at IS NULL
ORDER BY d.seq
LIMIT $4
