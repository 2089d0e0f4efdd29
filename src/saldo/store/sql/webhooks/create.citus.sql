-- Create a webhook and its sink, whose cursors are at the end of the log. Returns no row if there are $5 webhooks
-- already.
WITH head AS MATERIALIZED (
    SELECT s.shard, coalesce((
        SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = s.shard ORDER BY t.seq DESC LIMIT 1
    ), 0) AS seq
    FROM saldo.shards AS s
), webhook AS (
    INSERT INTO saldo.webhooks (url, event_types, user_ids, secret)
    SELECT $1, $2, $3, $4
    WHERE (SELECT count(*) FROM saldo.webhooks) < $5::bigint
    RETURNING id
), sink AS (
    INSERT INTO saldo.sinks (name) SELECT 'webhook-' || id FROM webhook RETURNING name
), cursors AS (
    INSERT INTO saldo.cursors (sink, shard, seq)
    SELECT sink.name, h.shard, h.seq
    FROM sink
    CROSS JOIN (
        SELECT head.shard, head.seq FROM head
        UNION ALL
        SELECT 64, coalesce(max(n.seq), 0) FROM saldo.notices AS n
    ) AS h
)
SELECT id FROM webhook
