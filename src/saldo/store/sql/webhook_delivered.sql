-- They wait no more, and count. $3: their positions in the shard $2.
-- synchronous_commit: what a crash forgets is sent again, and nobody waits for the disk.
WITH counted AS (
    UPDATE saldo.webhooks
    SET attempts_succeeded = attempts_succeeded + cardinality($3::bigint[]), failing_since = NULL
    WHERE id = $1 AND set_config('synchronous_commit', 'off', true) IS NOT NULL
)
DELETE FROM saldo.webhook_deliveries WHERE webhook_id = $1 AND shard = $2 AND seq = ANY ($3::bigint[])
