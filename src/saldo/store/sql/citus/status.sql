-- Return whether this database has Citus, whether the ledger is distributed, and the number of other connections of the
-- role %(service)s or of the current role.
SELECT EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'citus') AS citus,
    coalesce(to_regproc('saldo.post_on_shard_2'), to_regproc('saldo.post_on_shard_1')) IS NOT NULL AS distributed,
    (
        SELECT count(*)
        FROM pg_stat_activity AS a
        WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
            AND a.usename IN (%(service)s, current_user)
            -- The processes of another role are visible, but not what they do. Connections of the nodes are not
            -- counted.
            AND coalesce(a.backend_type, 'client backend') = 'client backend'
            AND NOT starts_with(coalesce(a.application_name, ''), 'citus')
    ) AS connected
