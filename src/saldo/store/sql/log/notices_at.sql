-- Return the notices at the given positions that still have the given uuids.
SELECT n.seq, n.uuid, n.recorded_at, n.webhook_id, n.reason, n.failing_since, n.last_failure
FROM unnest($1::bigint[], $2::uuid[]) AS wanted (seq, uuid)
JOIN saldo.notices AS n ON n.seq = wanted.seq AND n.uuid = wanted.uuid
