-- Moves cursors and renews the lease; no row when the epoch is not the current one.
-- synchronous_commit: a move that a crash forgets is published again, and no commit of posting waits for this.
WITH lease AS (
    UPDATE saldo.sinks
    SET lease_until = clock_timestamp() + $3::interval,
        events_published = events_published + $6, events_unrouted = events_unrouted + $7
    WHERE name = $1 AND epoch = $2 AND set_config('synchronous_commit', 'off', true) IS NOT NULL
    RETURNING name, epoch
), moved AS (
    UPDATE saldo.cursors AS c
    SET seq = published.seq
    FROM lease CROSS JOIN unnest($4::smallint[], $5::bigint[]) AS published (shard, seq)
    WHERE c.sink = lease.name AND c.shard = published.shard
)
SELECT epoch FROM lease
