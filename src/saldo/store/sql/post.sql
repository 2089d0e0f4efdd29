-- One batch, one round trip. Arguments and results: migrations/sql/0002_post.sql.
SELECT outcomes, replays, user_ids, numbers, amounts, balances, timestamps, recorded_ats
FROM saldo.post_2($1, $2, $3, $4, $5, $6, $7, $8)
