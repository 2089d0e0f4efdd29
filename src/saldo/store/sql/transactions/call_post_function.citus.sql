-- Post a batch of the shard $1 in one round trip. The function is called as a whole on the worker that stores the
-- shard. Citus does this only for a statement of this form outside a transaction block.
-- For arguments and results see store/citus/sql/post.sql.
SELECT outcomes, replays, user_ids, numbers, amounts, balances, timestamps, recorded_ats, lock_wait, late_entries
FROM saldo.post_on_shard_2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
