-- Create a user. synchronous_commit is set as in transactions/call_post_function.sql.
SELECT created, id, created_at FROM saldo.create_user_on_shard_1($1)
WHERE set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
    true) IS NOT NULL
