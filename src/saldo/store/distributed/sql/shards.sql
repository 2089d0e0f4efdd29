-- On Citus: the shards, one row each, which are distributed first, and what is distributed later is put beside them. A statement
-- that asks every shard begins with this table, and is answered where the shards are.
CREATE TABLE saldo.shards (shard smallint PRIMARY KEY CONSTRAINT shards_shard CHECK (shard BETWEEN 0 AND 63));
COMMENT ON TABLE saldo.shards IS 'One row a shard.';
SELECT create_distributed_table('saldo.shards', 'shard', shard_count := 1, colocate_with := 'none');
