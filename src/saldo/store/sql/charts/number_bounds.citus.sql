-- The variant of number_bounds.sql for a distributed ledger.
SELECT above, last, late FROM saldo.chart_bounds_on_shard_1(($1::bigint & 63)::smallint, $1, $2, $3, $4)
