-- The user's last number, and the number up to which nothing was recorded after $2 (null: 0).
SELECT e.number AS last_number,
    CASE WHEN $2::timestamptz IS NULL THEN 0
        ELSE greatest(saldo.number_known_1($1, $2, e.number), 0) END AS floor_number
FROM (
    SELECT t.number FROM saldo.transactions AS t
    WHERE t.user_id = $1 ORDER BY t.number DESC LIMIT 1
) AS e
