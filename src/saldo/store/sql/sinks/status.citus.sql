-- Return all sinks with their counters and their lag.
WITH read AS MATERIALIZED (
    SELECT c.sink, c.shard, c.seq FROM saldo.cursors AS c
), ahead AS MATERIALIZED (
    SELECT r.sink, r.seq,
        (SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = s.shard ORDER BY t.seq DESC LIMIT 1) AS head,
        (SELECT t.recorded_at FROM saldo.transactions AS t WHERE t.shard = s.shard AND t.seq = r.seq + 1) AS next
    FROM saldo.shards AS s
    JOIN read AS r ON r.shard = s.shard
), behind AS (
    SELECT a.sink, a.seq, a.head, a.next FROM ahead AS a
    UNION ALL
    SELECT r.sink, r.seq, (SELECT max(n.seq) FROM saldo.notices AS n),
        (SELECT n.recorded_at FROM saldo.notices AS n WHERE n.seq = r.seq + 1)
    FROM read AS r WHERE r.shard = 64
)
SELECT s.name, s.holder IS NOT NULL AND s.lease_until >= clock_timestamp() AS active,
    s.events_published, s.events_unrouted, s.failures, s.last_failure, s.last_failure_at,
    coalesce(sum(greatest(b.head - b.seq, 0)), 0)::bigint AS events_behind,
    coalesce(extract(epoch FROM clock_timestamp() - min(b.next)), 0)::double precision AS seconds_behind,
    coalesce(starts_with(s.last_failure, 'blocked: ') AND s.last_failure_at > clock_timestamp() - interval '1 minute', false)
        AS blocked
FROM saldo.sinks AS s
LEFT JOIN behind AS b ON b.sink = s.name
GROUP BY s.name
ORDER BY s.name
