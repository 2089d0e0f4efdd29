-- Lock all shards, so that no batch is decided meanwhile. The order is ascending, as in post.
SELECT pg_advisory_xact_lock('saldo.transactions'::regclass::oid::bigint << 6 | s.shard)
FROM (SELECT g.shard FROM generate_series(0, 63) AS g(shard) ORDER BY g.shard) AS s
