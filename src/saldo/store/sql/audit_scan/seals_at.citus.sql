-- Return the seals that begin at the given positions.
SELECT e.shard, e.first_seq, e.last_seq, e.root, e.hash
FROM saldo.shards AS s
JOIN unnest($1::smallint[], $2::bigint[]) AS kept (shard, first_seq) ON kept.shard = s.shard
JOIN saldo.seals AS e ON e.shard = s.shard AND e.first_seq = kept.first_seq
