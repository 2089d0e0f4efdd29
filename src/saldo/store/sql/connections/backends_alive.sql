-- Return whether any of the server processes with the pids $1, started at $2, still exists.
-- A role always sees its own processes.
SELECT EXISTS (
    SELECT FROM unnest($1::int[], $2::timestamptz[]) AS b(pid, started_at)
    JOIN pg_stat_activity AS a ON a.pid = b.pid AND a.backend_start = b.started_at
) AS alive
