-- On Citus: the shards, one row each. This table is distributed first, and the tables that are distributed later are
-- colocated with it. A statement that queries every shard begins with this table, and runs where the shards are stored.
CREATE TABLE saldo.shards (shard smallint PRIMARY KEY CONSTRAINT shards_shard CHECK (shard BETWEEN 0 AND 63));
COMMENT ON TABLE saldo.shards IS 'One row a shard.';
SELECT create_distributed_table('saldo.shards', 'shard', shard_count := 1, colocate_with := 'none');
