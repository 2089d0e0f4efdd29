-- Delete successful deliveries and count their attempts. $3: the positions of the deliveries in the shard $2.
-- synchronous_commit is off, so that the statement does not wait for the disk. After a crash some events are sent
-- again.
WITH counted AS (
    UPDATE saldo.webhooks
    SET attempts_succeeded = attempts_succeeded + cardinality($3::bigint[]), failing_since = NULL
    WHERE id = $1 AND set_config('synchronous_commit', 'off', true) IS NOT NULL
)
DELETE FROM saldo.webhook_deliveries WHERE webhook_id = $1 AND shard = $2 AND seq = ANY ($3::bigint[])
