-- Creates users 1, 2, 3 … of a ledger that may be distributed. Their opening entries are added by another statement
-- (open_entries.sql), since they may be on other machines.
INSERT INTO saldo.users (name, created_at)
SELECT 'user ' || n, clock_timestamp() FROM generate_series(1, %s::bigint) AS n
RETURNING 1
