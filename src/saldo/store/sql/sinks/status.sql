-- Return all sinks with their counters and their lag.
SELECT s.name, s.holder IS NOT NULL AND s.lease_until >= clock_timestamp() AS active,
    s.events_published, s.events_unrouted, s.failures, s.last_failure, s.last_failure_at, behind.events_behind,
    behind.seconds_behind,
    -- A sink counts as blocked for a minute after the last report. A blocked relay repeats its report more often than
    -- that.
    coalesce(starts_with(s.last_failure, 'blocked: ') AND s.last_failure_at > clock_timestamp() - interval '1 minute', false)
        AS blocked
FROM saldo.sinks AS s
CROSS JOIN LATERAL (
    SELECT coalesce(sum(greatest(head.seq - c.seq, 0)), 0)::bigint AS events_behind,
        coalesce(extract(epoch FROM clock_timestamp() - min(next.recorded_at)), 0)::double precision AS seconds_behind
    FROM saldo.cursors AS c
    LEFT JOIN LATERAL (
        (SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = c.shard ORDER BY t.seq DESC LIMIT 1)
        UNION ALL
        (SELECT n.seq FROM saldo.notices AS n WHERE c.shard = 64 ORDER BY n.seq DESC LIMIT 1)
    ) AS head ON true
    LEFT JOIN LATERAL (
        SELECT t.recorded_at FROM saldo.transactions AS t WHERE t.shard = c.shard AND t.seq = c.seq + 1
        UNION ALL
        SELECT n.recorded_at FROM saldo.notices AS n WHERE c.shard = 64 AND n.seq = c.seq + 1
    ) AS next ON true
    WHERE c.sink = s.name
) AS behind
ORDER BY s.name
