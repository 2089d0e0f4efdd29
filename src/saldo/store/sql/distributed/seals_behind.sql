-- The shards that have entries after their last seal: up to where they are sealed, and the hash of that seal; null: none.
SELECT b.shard, b.last_seq, b.hash
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
