-- Create a session of the holder $3 with the hash $1 and the binding $2. Delete all sessions that were idle for $5 or
-- have lasted for $6, and all but the $4 most recently used ones of the holder.
WITH ended AS (
    DELETE FROM saldo.console_sessions AS s
    WHERE s.used_at <= clock_timestamp() - $5::interval
        OR s.began_at <= clock_timestamp() - $6::interval
        OR s.hash IN (
            SELECT o.hash FROM saldo.console_sessions AS o
            WHERE o.holder = $3 ORDER BY o.used_at DESC, o.hash OFFSET $4::int
        )
)
INSERT INTO saldo.console_sessions (hash, binding, holder) VALUES ($1, $2, $3)
