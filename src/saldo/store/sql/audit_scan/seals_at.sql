-- Return the seals that begin at the given positions.
SELECT s.shard, s.first_seq, s.last_seq, s.root, s.hash
FROM unnest($1::smallint[], $2::bigint[]) AS kept (shard, first_seq)
JOIN saldo.seals AS s ON s.shard = kept.shard AND s.first_seq = kept.first_seq
