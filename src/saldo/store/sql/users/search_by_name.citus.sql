-- The variant of search_by_name.sql for a distributed ledger.
WITH page AS MATERIALIZED (
    SELECT v.id, v.name, v.created_at FROM saldo.users AS v
    WHERE lower(v.name COLLATE "default") COLLATE "C" >= lower(coalesce($3, $1)) COLLATE "C"
        AND lower(v.name COLLATE "default") COLLATE "C" < lower($2) COLLATE "C"
        AND ($3::text IS NULL OR lower(v.name COLLATE "default") COLLATE "C" <> lower($3) COLLATE "C" OR v.id > $4::bigint)
        AND ($5::bigint[] IS NULL OR v.id = ANY ($5))
    ORDER BY lower(v.name COLLATE "default") COLLATE "C", v.id
    LIMIT $6
)
SELECT u.id, u.name, u.created_at, u.balance
FROM (
    SELECT u.id, u.name, u.created_at, (
        SELECT t.balance FROM saldo.transactions AS t
        WHERE t.shard = s.shard AND t.user_id = u.id ORDER BY t.number DESC LIMIT 1
    ) AS balance
    FROM saldo.shards AS s JOIN page AS u ON s.shard = (u.id & 63)
) AS u
ORDER BY lower(u.name COLLATE "default") COLLATE "C", u.id
