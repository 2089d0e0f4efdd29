-- Return the entries at the given positions that still have the given uuids.
-- The timestamp of an opening entry is stored as -infinity; the result has the user's created_at instead.
SELECT t.shard, t.seq, t.user_id, t.number, t.uuid, t.kind, t.outcome, t.amount, t.balance,
    CASE WHEN t.kind = 0 THEN coalesce((SELECT u.created_at FROM saldo.users AS u WHERE u.id = t.user_id), t.recorded_at)
        ELSE t."timestamp" END AS "timestamp", t.recorded_at,
    CASE WHEN t.kind = 0 THEN (SELECT u.name FROM saldo.users AS u WHERE u.id = t.user_id) END AS user_name
FROM unnest($1::smallint[], $2::bigint[], $3::uuid[]) AS wanted (shard, seq, uuid)
JOIN saldo.transactions AS t ON t.shard = wanted.shard AND t.seq = wanted.seq AND t.uuid = wanted.uuid
