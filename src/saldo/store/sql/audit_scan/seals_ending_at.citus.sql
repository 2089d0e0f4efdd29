-- The variant of seals_ending_at.sql for a distributed ledger.
SELECT e.shard, e.last_seq, e.hash
FROM saldo.shards AS s
JOIN unnest($1::smallint[], $2::bigint[]) AS kept (shard, last_seq) ON kept.shard = s.shard
JOIN saldo.seals AS e
    ON e.shard = s.shard AND e.first_seq BETWEEN kept.last_seq - 1023 AND kept.last_seq
    AND e.last_seq = kept.last_seq
