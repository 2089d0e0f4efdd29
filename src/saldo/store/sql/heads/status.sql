-- Return the number of the newest head, and the time since the last publication; if nothing was published, the time
-- since the migration that created the table.
SELECT number - CASE WHEN is_published THEN 0 ELSE 1 END AS published_count,
    extract(epoch FROM clock_timestamp() - coalesce(published_at, created_at))::double precision AS age_seconds
FROM saldo.head_publication
