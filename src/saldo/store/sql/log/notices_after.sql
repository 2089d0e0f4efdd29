SELECT seq, uuid, recorded_at, webhook_id, reason, failing_since, last_failure
FROM saldo.notices
WHERE seq > $1
ORDER BY seq
LIMIT $2
