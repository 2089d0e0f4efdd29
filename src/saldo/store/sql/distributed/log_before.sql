-- By shard, notices as shard 64, the last position that was recorded before the moment: recorded_at never falls along seq, so it is
-- how many were. Counted, for a search that halves can't be sent to the shards; an operator asks this, now and then.
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
