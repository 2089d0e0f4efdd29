-- Users whose names begin with $1 and are before $2, whatever the case (as far as the database's locale knows it), by name.
-- $3 and $4: those after this name and this user, null: from the first; $5: only these users, null: all; $6: how many.
-- By the operators that compare bytes: the only ones for which a beginning is a range of an index.
SELECT u.id, u.name, u.created_at, e.balance
FROM (
    SELECT v.id, v.name, v.created_at FROM saldo.users AS v
    WHERE lower(v.name) ~>=~ lower(coalesce($3, $1)) AND lower(v.name) ~<~ lower($2)
        AND ($3::text IS NULL OR lower(v.name) <> lower($3) OR v.id > $4::bigint)
        AND ($5::bigint[] IS NULL OR v.id = ANY ($5))
    ORDER BY lower(v.name) USING ~<~, v.id
    LIMIT $6
) AS u
CROSS JOIN LATERAL (
    SELECT t.balance FROM saldo.transactions AS t
    WHERE t.user_id = u.id ORDER BY t.number DESC LIMIT 1
) AS e
ORDER BY lower(u.name) USING ~<~, u.id
