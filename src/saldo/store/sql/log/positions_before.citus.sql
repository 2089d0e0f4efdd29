-- Return for each shard, and for the notices as shard 64, the last position that was recorded before a time.
-- recorded_at never decreases along seq, so that the position is the number of earlier entries. The entries are
-- counted, because a binary search can't be sent to the shards. The statement is used rarely.
SELECT h.shard, h.seq
FROM (
    SELECT s.shard, (
        SELECT count(*) FROM saldo.transactions AS t WHERE t.shard = s.shard AND t.recorded_at < $1
    ) AS seq
    FROM saldo.shards AS s
    UNION ALL
    SELECT 64, coalesce(max(n.seq), 0) FROM saldo.notices AS n WHERE n.recorded_at < $1
) AS h
ORDER BY 1
