-- A page of the log: up to $4 entries of each shard are looked at, after its position and no further than until.
-- $5 users, $6 kinds of event (0 created, 1 posted, 2 refused): only entries of those; null: all.
-- A shard without anything new has no row; one in which nothing was wanted has a row without an entry.
-- reached: how far it was looked; head: where the shard ended then; identity: of the log that all this is of
-- (log_identity.sql), in the same statement, so that a failover can't come between.
SELECT read.shard, read.reached, read.head,
    (SELECT system_identifier FROM pg_control_system()) || '-' || (SELECT timeline_id FROM pg_control_checkpoint())
        || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '') AS identity,
    e.seq, e.user_id, e.number, e.uuid, e.kind, e.outcome, e.amount, e.balance, e."timestamp", e.recorded_at,
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
    SELECT t.seq, t.user_id, t.number, t.uuid, t.kind, t.outcome, t.amount, t.balance,
        -- The opening entry's is -infinity.
        CASE WHEN t.kind = 0 THEN t.recorded_at ELSE t."timestamp" END AS "timestamp", t.recorded_at
    FROM saldo.transactions AS t
    WHERE t.shard = read.shard AND t.seq > read.seq AND t.seq <= read.reached
        AND ($5::bigint[] IS NULL OR t.user_id = ANY ($5))
        AND ($6::smallint[] IS NULL
            OR CASE WHEN t.kind = 0 THEN 0 WHEN t.outcome = 0 THEN 1 ELSE 2 END = ANY ($6))
) AS e ON true
ORDER BY read.shard, e.seq
