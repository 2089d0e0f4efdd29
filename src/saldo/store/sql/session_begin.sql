-- A new session of the holder $3: hash $1, binding $2. Of the holder's others the $4 used last stay, and of all those that
-- have not been idle for $5 nor lasted for $6.
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
