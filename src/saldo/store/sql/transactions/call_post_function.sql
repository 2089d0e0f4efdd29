-- Post a batch in one round trip. For arguments and results see migrations/sql/0012_post.sql.
-- Durable means written to the disk, and to the standby if one is configured; 'off' and 'local' do not ensure that.
-- The setting is made here, for this transaction, because a pooler may have switched to another session.
SELECT outcomes, replays, user_ids, numbers, amounts, balances, timestamps, recorded_ats, lock_wait, late_entries
FROM saldo.post_3($1, $2, $3, $4, $5, $6, $7, $8, $9)
WHERE set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
    true) IS NOT NULL
