-- How many Citus shards saldo.shards has; null: it is not there.
SELECT nullif(count(*), 0)::int FROM pg_dist_shard AS s WHERE s.logicalrelid = to_regclass('saldo.shards')
