-- Adds rows as posting does: for users in turn, with random uuids, recorded one after the other over a year.
INSERT INTO {table}
    (seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, shard, kind, outcome)
SELECT i + 1, u.id, i / $3 + 1, 100, 100 * (i / $3 + 1), r.at, r.at, r.at, gen_random_uuid(), u.id % 64, 1, 0
FROM generate_series($1::bigint, $2::bigint - 1) AS i
CROSS JOIN LATERAL (SELECT i * 7919 % $3::bigint + 1 AS id) AS u
CROSS JOIN LATERAL (SELECT '2026-01-01Z'::timestamptz + i * interval '1 year' / $4::bigint AS at) AS r
