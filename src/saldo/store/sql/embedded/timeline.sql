-- Return the timeline that this server writes to; see log/identity.sql.
SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint AS timeline
