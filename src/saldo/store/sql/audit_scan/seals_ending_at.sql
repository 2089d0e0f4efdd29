-- Return the seals that end at the given positions. A seal has at most 1024 entries, so the primary key finds them.
SELECT s.shard, s.last_seq, s.hash
FROM unnest($1::smallint[], $2::bigint[]) AS kept (shard, last_seq)
JOIN saldo.seals AS s
    ON s.shard = kept.shard AND s.first_seq BETWEEN kept.last_seq - 1023 AND kept.last_seq
    AND s.last_seq = kept.last_seq
