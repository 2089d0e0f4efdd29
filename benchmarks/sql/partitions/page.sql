SELECT count(*) FROM unnest($1::bigint[]) AS q(user_id)
CROSS JOIN LATERAL (
    SELECT t.balance FROM {table} AS t WHERE t.user_id = q.user_id ORDER BY t.number DESC LIMIT 50
) AS page
