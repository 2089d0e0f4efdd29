-- One batch, one round trip. Arguments and results: migrations/sql/0001_post.sql.
SELECT outcomes, replays, user_ids, numbers, amounts, balances, timestamps, horizons, recorded_ats
FROM saldo.post_1($1, $2, $3, $4, $5, $6, $7)
