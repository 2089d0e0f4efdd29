-- One batch, one round trip. Arguments and results: migrations/sql/0002_post.sql.
-- Durable means on the disk, and on the standby where one is configured; 'off' and 'local' are less.
-- Set here, for this transaction: behind a pooler the session may not be the one that we set up.
SELECT outcomes, replays, user_ids, numbers, amounts, balances, timestamps, recorded_ats, lock_wait
FROM saldo.post_2($1, $2, $3, $4, $5, $6, $7, $8)
WHERE set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
    true) IS NOT NULL
