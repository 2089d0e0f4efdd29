-- Append seals, at most one for each shard, that follow the shard's last seal, and return those that were appended.
-- If two sealers append the same seal, the second waits for the first and then finds the key in use. The insertion is
-- in the order of shards, so that no deadlock occurs.
-- $7: the identity of the log that was read (log/identity.sql); null if it is unknown. After a failover the log
-- may have other entries at these positions.
-- synchronous_commit is set as in transactions/call_post_function.sql, because a seal that was visible must never disappear.
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
    AND ($7::text IS NULL OR $7 = (SELECT system_identifier FROM pg_control_system()) || '-'
            || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
            || coalesce((SELECT '-' || restore_id FROM saldo.ledger), ''))
ORDER BY given.shard
ON CONFLICT ON CONSTRAINT seals_pkey DO NOTHING
RETURNING shard, last_seq
