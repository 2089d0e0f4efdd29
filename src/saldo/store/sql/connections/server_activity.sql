-- The sessions of the database, and the archiver of the server. The state of other roles' sessions is visible only to
-- members of pg_read_all_stats. The counts of the archiver are null if the server doesn't archive its WAL.
SELECT s.waiting, s.longest_seconds, a.archived_count, a.failed_count
FROM (
    SELECT count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting,
        coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::double precision AS longest_seconds
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
) AS s
LEFT JOIN pg_stat_archiver AS a ON current_setting('archive_mode') <> 'off'
