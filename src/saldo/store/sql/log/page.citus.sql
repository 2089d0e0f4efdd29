-- The variant of page.sql for a distributed ledger. identity is the log identity of the coordinator.
-- The timestamp of an opening entry is stored as -infinity; the result has the user's created_at instead.
WITH read AS MATERIALIZED (
    SELECT p.shard, p.seq, p.head, least(p.seq + $4::bigint, p.head, p.until) AS reached
    FROM (
        SELECT s.shard, position.seq, position.until, (
            SELECT t.seq FROM saldo.transactions AS t WHERE t.shard = s.shard ORDER BY t.seq DESC LIMIT 1
        ) AS head
        FROM saldo.shards AS s
        JOIN unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS position (shard, seq, until) ON position.shard = s.shard
    ) AS p
    WHERE p.seq < least(p.head, p.until)
), page AS MATERIALIZED (
    SELECT t.shard, t.seq, t.user_id, t.number, t.uuid, t.kind, t.outcome, t.amount, t.balance, t."timestamp",
        t.recorded_at
    FROM saldo.shards AS s
    JOIN read ON read.shard = s.shard
    JOIN saldo.transactions AS t ON t.shard = s.shard AND t.seq > read.seq AND t.seq <= read.reached
    WHERE ($5::bigint[] IS NULL OR t.user_id = ANY ($5))
        AND ($6::smallint[] IS NULL
            OR CASE WHEN t.kind = 0 THEN 0 WHEN t.outcome = 0 THEN 1 ELSE 2 END = ANY ($6))
)
SELECT read.shard, read.reached, read.head,
    (SELECT system_identifier FROM pg_control_system()) || '-'
        || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
        || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '') AS identity,
    e.seq, e.user_id, e.number, e.uuid, e.kind, e.outcome, e.amount, e.balance,
    CASE WHEN e.kind = 0 THEN coalesce(u.created_at, e.recorded_at) ELSE e."timestamp" END AS "timestamp", e.recorded_at,
    u.name AS user_name
FROM read
LEFT JOIN page AS e ON e.shard = read.shard
LEFT JOIN saldo.users AS u ON e.kind = 0 AND u.id = e.user_id
ORDER BY read.shard, e.seq
