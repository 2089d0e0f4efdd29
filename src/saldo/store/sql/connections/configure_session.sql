-- Set the session settings that Saldo needs, whatever the defaults of the role, the database or a pooler are.
-- Startup parameters are not used, because a pooler may reject them. For synchronous_commit see transactions/call_post_function.sql.
-- system and timeline identify the server; the timeline is null on a standby. See log/identity.sql and
-- saldo/store/connections/server_check.py.
SELECT
    -- A pid that differs from the one at login shows a pooler, which may switch to another session.
    pg_backend_pid() AS backend_pid,
    -- The pid and this time together identify the server process while the server runs; see
    -- connections/backends_alive.sql.
    (SELECT a.backend_start FROM pg_stat_activity AS a WHERE a.pid = pg_backend_pid()) AS backend_started_at,
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('default_transaction_read_only', 'off', false),
    -- Plans that were made for a small or never analysed table must use the indexes, too.
    set_config('enable_seqscan', 'off', false),
    -- A plan that can't avoid a sequential scan, for example of the one row of saldo.ledger, then has an enormous
    -- estimated cost. With JIT, the server would compile each such plan, which takes much longer than running it.
    set_config('jit', 'off', false),
    set_config('statement_timeout', $1, false),
    set_config('lock_timeout', '0', false),
    set_config('idle_in_transaction_session_timeout', '0', false),
    -- This limits how long a backend whose client is gone holds the lock of a shard.
    set_config('client_connection_check_interval', '1s', false),
    set_config('application_name', $2, false),
    -- In UTC a day of an interval has 24 hours.
    set_config('TimeZone', 'UTC', false),
    -- With this setting, a statement on all shards of a Citus cluster uses one connection to each worker, and not one
    -- for each shard. Otherwise a write would be prepared and committed on each connection, with a disk write every
    -- time. Other servers ignore the setting.
    set_config('citus.multi_shard_modify_mode', 'sequential', false),
    -- A distributed ledger needs other statements (*.citus.sql).
    coalesce(to_regproc('saldo.post_on_shard_2'), to_regproc('saldo.post_on_shard_1')) IS NOT NULL AS distributed,
    (SELECT system_identifier FROM pg_control_system())::text AS system,
    CASE WHEN NOT pg_is_in_recovery()
        THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
    END AS timeline
