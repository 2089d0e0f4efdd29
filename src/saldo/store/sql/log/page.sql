-- Return a page of the log. Up to $4 entries of each shard are read, after its position and up to `until`.
-- $5: user ids, $6: kinds of event (0 created, 1 posted, 2 refused), to which the entries are limited; null for all.
-- A shard with nothing new has no row. A shard without matching entries has one row without an entry.
-- reached: the position up to which the shard was read; head: the end of the shard at that time.
-- identity: the log identity (log/identity.sql), read in the same statement, so that no failover can happen in between.
-- The timestamp of an opening entry is stored as -infinity; the result has the user's created_at instead.
SELECT read.shard, read.reached, read.head,
    (SELECT system_identifier FROM pg_control_system()) || '-'
        || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
        || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '') AS identity,
    e.seq, e.user_id, e.number, e.uuid, e.kind, e.outcome, e.amount, e.balance,
    CASE WHEN e.kind = 0 THEN coalesce((SELECT u.created_at FROM saldo.users AS u WHERE u.id = e.user_id), e.recorded_at)
        ELSE e."timestamp" END AS "timestamp", e.recorded_at,
    CASE WHEN e.kind = 0 THEN (SELECT u.name FROM saldo.users AS u WHERE u.id = e.user_id) END AS user_name
FROM (
    SELECT position.shard, position.seq, head.seq AS head,
        least(position.seq + $4, head.seq, position.until) AS reached
    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS position (shard, seq, until)
    CROSS JOIN LATERAL (
        SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = position.shard ORDER BY t.seq DESC LIMIT 1
    ) AS head
    WHERE position.seq < least(head.seq, position.until)
) AS read
LEFT JOIN LATERAL (
    SELECT t.seq, t.user_id, t.number, t.uuid, t.kind, t.outcome, t.amount, t.balance, t."timestamp",
        t.recorded_at
    FROM saldo.transactions AS t
    WHERE t.shard = read.shard AND t.seq > read.seq AND t.seq <= read.reached
        AND ($5::bigint[] IS NULL OR t.user_id = ANY ($5))
        AND ($6::smallint[] IS NULL
            OR CASE WHEN t.kind = 0 THEN 0 WHEN t.outcome = 0 THEN 1 ELSE 2 END = ANY ($6))
) AS e ON true
ORDER BY read.shard, e.seq
