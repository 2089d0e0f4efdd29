-- Return the number of sealed entries, and the age of the oldest unsealed one; 0 if all are sealed.
SELECT coalesce(sum(sealed.last_seq), 0)::bigint AS entries,
    coalesce(extract(epoch FROM clock_timestamp() - min(sealed.next)), 0)::double precision AS seconds_behind
FROM (
    SELECT last.last_seq, (
        SELECT t.recorded_at FROM saldo.transactions AS t
        WHERE t.shard = last.shard AND t.seq > coalesce(last.last_seq, 0) ORDER BY t.seq LIMIT 1
    ) AS next
    FROM (
        SELECT s.shard, (
            SELECT e.last_seq FROM saldo.seals AS e WHERE e.shard = s.shard ORDER BY e.first_seq DESC LIMIT 1
        ) AS last_seq
        FROM saldo.shards AS s
    ) AS last
) AS sealed
