-- Return the state of the audit. faults: the number of unacknowledged faults.
SELECT a.lease_until > clock_timestamp() AS active, a.rounds, a.entries,
    a.shard, a.seq, a.round_began_at, a.last_round_ended_at,
    extract(epoch FROM clock_timestamp() - a.last_round_ended_at)::double precision AS round_age_seconds,
    (SELECT count(*) FROM saldo.audit_faults AS f WHERE f.acknowledged_at IS NULL) AS faults
FROM saldo.audit AS a
