-- Users 1, 2, 3 … of a ledger that may be distributed, each with an opening entry: in two steps, for they may be on different machines.
INSERT INTO saldo.users (name, created_at)
SELECT 'user ' || n, clock_timestamp() FROM generate_series(1, %s::bigint) AS n
RETURNING 1
