-- Puts events where they wait; no row when the epoch of the sink is not the current one.
WITH lease AS (
    SELECT name FROM saldo.sinks WHERE name = 'webhook-' || $1::bigint AND epoch = $2
), put AS (
    INSERT INTO saldo.webhook_deliveries AS d (
        webhook_id, shard, seq, user_id, uuid, attempts, next_attempt_at, last_attempt_at, last_failure
    )
    SELECT $1, event.shard, event.seq, event.user_id, event.uuid, event.attempts,
        clock_timestamp() + event.delay, CASE WHEN event.attempts > 0 THEN clock_timestamp() END, event.failure
    FROM lease
    CROSS JOIN unnest(
        $3::smallint[], $4::bigint[], $5::bigint[], $6::uuid[], $7::integer[], $8::interval[], $9::text[]
    ) AS event (shard, seq, user_id, uuid, attempts, delay, failure)
    -- It waits already: the cursor was not moved then. Or it was given up, and the cursor was moved back.
    ON CONFLICT (webhook_id, shard, seq) DO UPDATE
    SET dead_at = NULL, waiting_since = excluded.waiting_since, attempts = excluded.attempts,
        next_attempt_at = excluded.next_attempt_at, last_attempt_at = excluded.last_attempt_at,
        last_failure = excluded.last_failure
    WHERE d.dead_at IS NOT NULL
)
SELECT name FROM lease
