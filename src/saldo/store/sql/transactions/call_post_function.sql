-- Post a batch in one round trip. For arguments and results see migrations/sql/0012_post.sql.
-- A committed transaction must be on the disk, and on the standby if one is configured. The values 'off' and 'local' of
-- synchronous_commit do not ensure that. The statement sets the value for its own transaction, because a pooler may
-- have switched to another session.
SELECT outcomes, replays, user_ids, numbers, amounts, balances, timestamps, recorded_ats, lock_wait, late_entries
FROM saldo.post_3($1, $2, $3, $4, $5, $6, $7, $8, $9)
WHERE set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
    true) IS NOT NULL
