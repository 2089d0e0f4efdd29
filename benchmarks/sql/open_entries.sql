-- Adds the opening entries of the users from open_users.sql.
INSERT INTO saldo.transactions (
    seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, shard, kind, outcome
)
SELECT row_number() OVER (PARTITION BY u.id & 63 ORDER BY u.id), u.id, 0, 0, 0, '-infinity', '-infinity', u.created_at,
    gen_random_uuid(), u.id & 63, 0, 0
FROM saldo.users AS u
