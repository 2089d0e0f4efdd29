-- Return the sessions with the hashes $1 that were not idle for $2 and have not lasted for $3.
-- stale: whether the last use is longer than $4 ago, so that it must be recorded again.
SELECT s.hash, s.holder, s.binding, s.used_at <= clock_timestamp() - $4::interval AS stale
FROM saldo.console_sessions AS s
WHERE s.hash = ANY($1::bytea[])
    AND s.used_at > clock_timestamp() - $2::interval
    AND s.began_at > clock_timestamp() - $3::interval
