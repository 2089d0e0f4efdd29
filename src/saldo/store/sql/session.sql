-- What a connection must have, whatever the role's, the database's or a pooler's defaults are.
-- Not as start-up parameters: a pooler may refuse those. synchronous_commit: see post.sql.
SELECT
    -- Another one than at login: a pooler stands between, and may give us another session.
    pg_backend_pid() AS backend_pid,
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('default_transaction_read_only', 'off', false),
    -- A plan pinned while the table was small, or never analysed, must use the indexes all the same.
    set_config('enable_seqscan', 'off', false),
    set_config('statement_timeout', $1, false),
    set_config('lock_timeout', '0', false),
    set_config('idle_in_transaction_session_timeout', '0', false),
    -- A backend whose client is gone should not hold a shard's lock for longer than this.
    set_config('client_connection_check_interval', '1s', false),
    set_config('application_name', $2, false),
    -- On Citus: one connection to each worker for what goes to all shards, not one for each of them: what is written through
    -- many is prepared and committed on each, a write to the disk every time. Elsewhere nobody reads it.
    set_config('citus.multi_shard_modify_mode', 'sequential', false),
    -- Whether the ledger is distributed: then other statements are needed (sql/distributed).
    to_regproc('saldo.post_on_shard_1') IS NOT NULL AS distributed
