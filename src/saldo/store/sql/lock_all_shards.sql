-- No batch decides while these are held. Ascending, as post takes them.
SELECT pg_advisory_xact_lock('saldo.transactions'::regclass::oid::bigint << 6 | s.shard)
FROM (SELECT g.shard FROM generate_series(0, 63) AS g(shard) ORDER BY g.shard) AS s
