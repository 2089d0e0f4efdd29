-- The variant of append.sql for a distributed ledger.
WITH last AS MATERIALIZED (
    SELECT s.shard,
        (SELECT e.last_seq FROM saldo.seals AS e WHERE e.shard = s.shard ORDER BY e.first_seq DESC LIMIT 1) AS last_seq,
        (SELECT e.hash FROM saldo.seals AS e WHERE e.shard = s.shard ORDER BY e.first_seq DESC LIMIT 1) AS hash
    FROM saldo.shards AS s
)
INSERT INTO saldo.seals (shard, first_seq, last_seq, root, hash)
SELECT given.shard, given.first_seq, given.last_seq, given.root, given.hash
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[])
    AS given (shard, first_seq, last_seq, previous, root, hash)
JOIN last ON last.shard = given.shard
WHERE given.first_seq = coalesce(last.last_seq, 0) + 1
    AND given.previous = coalesce(last.hash, decode(repeat('00', 32), 'hex'))
    AND ($7::text IS NULL OR $7 = (SELECT system_identifier FROM pg_control_system()) || '-'
            || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
            || coalesce((SELECT '-' || restore_id FROM saldo.ledger), ''))
ORDER BY given.shard
ON CONFLICT (first_seq, shard) DO NOTHING
RETURNING shard, last_seq
