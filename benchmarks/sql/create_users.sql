-- Creates users as the service does, with their opening entries.
SELECT count(*) FROM (
    SELECT saldo.create_user_1('user ' || n) FROM generate_series(1, %s) AS n
) AS created
