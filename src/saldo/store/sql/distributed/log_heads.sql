-- The last position of every shard, and of the notices as shard 64; 0: nothing yet.
SELECT h.shard, h.seq
FROM (
    SELECT s.shard, coalesce((
        SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = s.shard ORDER BY t.seq DESC LIMIT 1
    ), 0) AS seq
    FROM saldo.shards AS s
    UNION ALL
    SELECT 64, coalesce(max(n.seq), 0) FROM saldo.notices AS n
) AS h
ORDER BY 1
