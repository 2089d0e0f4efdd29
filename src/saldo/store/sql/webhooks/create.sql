-- Create a webhook and its sink, whose cursors are at the end of the log. Returns no row if there are $5 webhooks
-- already.
WITH webhook AS (
    INSERT INTO saldo.webhooks (url, event_types, user_ids, secret)
    SELECT $1, $2, $3, $4
    WHERE (SELECT count(*) FROM saldo.webhooks) < $5::bigint
    RETURNING id
), sink AS (
    INSERT INTO saldo.sinks (name) SELECT 'webhook-' || id FROM webhook RETURNING name
), cursors AS (
    INSERT INTO saldo.cursors (sink, shard, seq)
    SELECT sink.name, shard, coalesce(head.seq, 0)
    FROM sink
    CROSS JOIN generate_series(0, 64) AS shard
    LEFT JOIN LATERAL (
        (SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = shard.shard ORDER BY t.seq DESC LIMIT 1)
        UNION ALL
        (SELECT n.seq FROM saldo.notices AS n WHERE shard.shard = 64 ORDER BY n.seq DESC LIMIT 1)
    ) AS head ON true
)
SELECT id FROM webhook
