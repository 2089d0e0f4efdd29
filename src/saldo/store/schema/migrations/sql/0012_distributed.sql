-- On Citus: as 0012_ledger.sql, for a ledger that has been distributed already. The new functions are in distributed/sql.
SET LOCAL citus.multi_shard_modify_mode = 'sequential';

ALTER FUNCTION saldo.number_at_on_shard_1(smallint, bigint, timestamptz, bigint) SET timezone = 'UTC';
ALTER FUNCTION saldo.number_known_on_shard_1(smallint, bigint, timestamptz, bigint) SET timezone = 'UTC';
ALTER FUNCTION saldo.open_user_on_shard_1(smallint, bigint) SET timezone = 'UTC';
ALTER FUNCTION saldo.create_user_on_shard_1(text) SET timezone = 'UTC';
ALTER FUNCTION saldo.post_on_shard_1(
    smallint, uuid[], bigint[], bigint[], timestamptz[], bigint, interval, bigint, boolean
) SET timezone = 'UTC';
ALTER FUNCTION saldo.balance_on_shard_1(smallint, bigint, timestamptz, timestamptz) SET timezone = 'UTC';
ALTER FUNCTION saldo.balances_on_shard_1(smallint, bigint, timestamptz[]) SET timezone = 'UTC';
ALTER FUNCTION saldo.numbers_on_shard_1(smallint, bigint, timestamptz) SET timezone = 'UTC';
ALTER FUNCTION saldo.chart_bounds_on_shard_1(smallint, bigint, timestamptz, timestamptz, bigint) SET timezone = 'UTC';
