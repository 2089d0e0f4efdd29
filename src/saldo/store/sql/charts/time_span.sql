-- Return the first and the last time at which the balance of the user $1 changes; null if it never does.
-- At most $2 late entries are read. Most users have none.
SELECT least(
        (
            SELECT t."timestamp" FROM saldo.transactions AS t
            WHERE t.user_id = $1 AND t.number > 0 AND t.outcome = 0
            --citus AND t.shard = ($1::bigint & 63)::smallint
            ORDER BY t.number LIMIT 1
        ),
        (
            SELECT min(late."timestamp") FROM (
                SELECT t."timestamp" FROM saldo.transactions AS t
                WHERE t.user_id = $1 AND t.outcome = 0 AND t."timestamp" < t.horizon
                --citus AND t.shard = ($1::bigint & 63)::smallint
                -- The order makes PostgreSQL use the index of late entries. A user has few late entries, and may have a
                -- million others.
                ORDER BY t.horizon, t."timestamp" LIMIT $2
            ) AS late
        )
    ) AS first,
    nullif(e.horizon, '-infinity') AS last
FROM (
    SELECT t.horizon FROM saldo.transactions AS t
    WHERE t.user_id = $1
    --citus AND t.shard = ($1::bigint & 63)::smallint
    ORDER BY t.number DESC LIMIT 1
) AS e
