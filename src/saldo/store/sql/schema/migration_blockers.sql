-- Return the processes that block a migration: those that hold a lock that the migration needs, and another process
-- that migrates.
SELECT b.pid, b.application_name,
    -- These columns are null if this role may not see another role's activity.
    to_char(b.query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SSZ') AS query_start,
    to_char(b.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SSZ') AS transaction_start,
    b.state
FROM pg_stat_activity AS b
WHERE b.pid IN (
        SELECT unnest(pg_blocking_pids(w.pid))
        FROM pg_stat_activity AS w
        WHERE w.application_name = %(name)s AND w.datname = current_database()
    )
    OR b.pid IN (
        SELECT l.pid FROM pg_locks AS l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
            AND l.classid::bigint << 32 | l.objid::bigint = hashtext('saldo.migrations')
            AND l.pid <> %(own)s
    )
ORDER BY b.pid
