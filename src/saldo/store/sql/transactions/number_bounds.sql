-- Return the user $1's last number, and the number up to which all entries were recorded by $2 (0 if $2 is null).
SELECT e.number AS last_number,
    CASE WHEN $2::timestamptz IS NULL THEN 0
        ELSE greatest(saldo.number_known_1($1, $2, e.number), 0) END AS floor_number
FROM (
    SELECT t.number FROM saldo.transactions AS t
    WHERE t.user_id = $1 ORDER BY t.number DESC LIMIT 1
) AS e
