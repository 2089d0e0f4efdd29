-- One batch of the shard $1, one round trip, called whole where the shard is: only a statement of this form is, and only outside of
-- a transaction block. Arguments and results: store/distributed/sql/post.sql.
SELECT outcomes, replays, user_ids, numbers, amounts, balances, timestamps, recorded_ats, lock_wait
FROM saldo.post_on_shard_1($1, $2, $3, $4, $5, $6, $7, $8, $9)
