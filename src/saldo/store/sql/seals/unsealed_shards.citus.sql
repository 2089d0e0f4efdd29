-- The variant of unsealed_shards.sql for a distributed ledger.
SELECT b.shard, b.last_seq, b.hash,
    extract(epoch FROM clock_timestamp() - (
        SELECT t.recorded_at FROM saldo.transactions AS t
        WHERE t.shard = b.shard AND t.seq > b.last_seq ORDER BY t.seq LIMIT 1
    ))::double precision AS waited_seconds
FROM (
    SELECT s.shard,
        coalesce((
            SELECT e.last_seq FROM saldo.seals AS e WHERE e.shard = s.shard ORDER BY e.first_seq DESC LIMIT 1
        ), 0) AS last_seq,
        (SELECT e.hash FROM saldo.seals AS e WHERE e.shard = s.shard ORDER BY e.first_seq DESC LIMIT 1) AS hash,
        (SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = s.shard ORDER BY t.seq DESC LIMIT 1) AS head
    FROM saldo.shards AS s
) AS b
WHERE b.head > b.last_seq
