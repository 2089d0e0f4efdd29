-- The session $1, if it has not been idle for $2 nor lasted for $3; stale: its last use was so long ago that it is to be written.
SELECT s.holder, s.binding, s.used_at <= clock_timestamp() - $4::interval AS stale
FROM saldo.console_sessions AS s
WHERE s.hash = $1
    AND s.used_at > clock_timestamp() - $2::interval
    AND s.began_at > clock_timestamp() - $3::interval
