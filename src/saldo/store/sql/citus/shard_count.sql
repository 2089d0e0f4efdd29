-- Return the number of Citus shards of saldo.shards; null if the table does not exist.
SELECT nullif(count(*), 0)::int FROM pg_dist_shard AS s WHERE s.logicalrelid = to_regclass('saldo.shards')
