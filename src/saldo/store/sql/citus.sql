-- Whether this database has Citus, whether the ledger is distributed over it, and how many others are connected as the role
-- %(service)s or this one.
SELECT EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'citus') AS citus,
    to_regproc('saldo.post_on_shard_1') IS NOT NULL AS distributed,
    (
        SELECT count(*)
        FROM pg_stat_activity AS a
        WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
            AND a.usename IN (%(service)s, current_user)
            -- One role sees no more of another's than that they are there. Not counted: the nodes' own.
            AND coalesce(a.backend_type, 'client backend') = 'client backend'
            AND NOT starts_with(coalesce(a.application_name, ''), 'citus')
    ) AS connected
