-- Does what a batch does with the log: looks up the uuids, then appends the entries.
WITH given AS MATERIALIZED (
    SELECT i, gen_random_uuid() AS uuid FROM generate_series($1::bigint, $2::bigint - 1) AS i
){kept}
INSERT INTO {table}
    (seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, shard, kind, outcome)
SELECT i + 1, u.id, i / $3 + 1, 100, 100 * (i / $3 + 1), r.at, r.at, r.at, uuid, u.id % 64, 1, 0
FROM given
CROSS JOIN LATERAL (SELECT i * 7919 % $3::bigint + 1 AS id) AS u
-- All times are within the year, so that new entries are in the last partition.
CROSS JOIN LATERAL (SELECT '2026-12-31Z'::timestamptz + i * interval '1 microsecond' AS at) AS r
WHERE NOT EXISTS (SELECT FROM {uuids} AS t WHERE t.uuid = given.uuid)
