-- Return the number of sealed entries, and the age of the oldest unsealed one; 0 if all are sealed.
SELECT coalesce(sum(last.last_seq), 0)::bigint AS entries,
    coalesce(extract(epoch FROM clock_timestamp() - min(next.recorded_at)), 0)::double precision AS seconds_behind
FROM generate_series(0, 63) AS shard
LEFT JOIN LATERAL (
    SELECT s.last_seq FROM saldo.seals AS s WHERE s.shard = shard.shard ORDER BY s.first_seq DESC LIMIT 1
) AS last ON true
LEFT JOIN LATERAL (
    SELECT t.recorded_at FROM saldo.transactions AS t
    WHERE t.shard = shard.shard AND t.seq > coalesce(last.last_seq, 0) ORDER BY t.seq LIMIT 1
) AS next ON true
