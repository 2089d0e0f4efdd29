SELECT f.id, f.rule, f.shard, f.seq, f.last_seq, f.found, f.expected, f.uuid, f.user_id, f.number,
    f.first_found_at, f.last_found_at, f.times_found, f.acknowledged_at, f.acknowledged_why
FROM saldo.audit_faults AS f
ORDER BY f.acknowledged_at NULLS FIRST, f.id
LIMIT $1
