-- Appends seals, at most one for each shard, that follow the shard's last one; which they were. Of two who seal the same at once the
-- second waits for the first, and then finds the key taken. In the order of shards, so that neither waits for the other.
-- synchronous_commit as in post.sql: a seal that somebody has seen must never be gone.
INSERT INTO saldo.seals (shard, first_seq, last_seq, root, hash)
SELECT given.shard, given.first_seq, given.last_seq, given.root, given.hash
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[])
    AS given (shard, first_seq, last_seq, previous, root, hash)
LEFT JOIN LATERAL (
    SELECT s.last_seq, s.hash FROM saldo.seals AS s WHERE s.shard = given.shard ORDER BY s.first_seq DESC LIMIT 1
) AS last ON true
WHERE set_config('synchronous_commit',
        CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
        true) IS NOT NULL
    AND given.first_seq = coalesce(last.last_seq, 0) + 1
    AND given.previous = coalesce(last.hash, decode(repeat('00', 32), 'hex'))
ORDER BY given.shard
ON CONFLICT ON CONSTRAINT seals_pkey DO NOTHING
RETURNING shard, last_seq
