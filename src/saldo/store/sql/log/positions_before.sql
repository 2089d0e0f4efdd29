-- Return for each shard, and for the notices as shard 64, the last position that was recorded before a time.
-- recorded_at never decreases along seq, so that a binary search finds it.
WITH RECURSIVE search AS (
    SELECT shard::smallint, 0::bigint AS low, coalesce(head.seq, 0) AS high
    FROM generate_series(0, 63) AS shard
    LEFT JOIN LATERAL (
        SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = shard.shard ORDER BY t.seq DESC LIMIT 1
    ) AS head ON true
    UNION ALL
    SELECT s.shard,
        CASE WHEN middle.recorded_at < $1 THEN middle.seq ELSE s.low END,
        CASE WHEN middle.recorded_at < $1 THEN s.high ELSE middle.seq - 1 END
    FROM search AS s
    JOIN saldo.transactions AS middle ON middle.shard = s.shard AND middle.seq = (s.low + s.high + 1) / 2
    WHERE s.low < s.high
)
SELECT shard, low AS seq FROM search WHERE low = high
UNION ALL
SELECT 64, coalesce(max(n.seq), 0) FROM saldo.notices AS n WHERE n.recorded_at < $1
ORDER BY 1
