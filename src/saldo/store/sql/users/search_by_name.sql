-- Return users whose names begin with $1 and sort before $2, by name. The case of letters is ignored, as far as the
-- database's locale knows their case. $3 and $4: the name and id after which the page begins, null for the first page.
-- $5: the user ids to which the search is limited, null for all. $6: the limit. The comparison is by bytes (COLLATE
-- "C"), because only then a prefix is a range of the index.
SELECT u.id, u.name, u.created_at, e.balance
FROM (
    SELECT v.id, v.name, v.created_at FROM saldo.users AS v
    WHERE lower(v.name COLLATE "default") COLLATE "C" >= lower(coalesce($3, $1)) COLLATE "C"
        AND lower(v.name COLLATE "default") COLLATE "C" < lower($2) COLLATE "C"
        AND ($3::text IS NULL OR lower(v.name COLLATE "default") COLLATE "C" <> lower($3) COLLATE "C" OR v.id > $4::bigint)
        AND ($5::bigint[] IS NULL OR v.id = ANY ($5))
    ORDER BY lower(v.name COLLATE "default") COLLATE "C", v.id
    LIMIT $6
) AS u
CROSS JOIN LATERAL (
    SELECT t.balance FROM saldo.transactions AS t
    WHERE t.user_id = u.id ORDER BY t.number DESC LIMIT 1
) AS e
ORDER BY lower(u.name COLLATE "default") COLLATE "C", u.id
