-- Return the number of the webhook's pending deliveries, and those of the given users who have pending deliveries.
SELECT (SELECT count(*) FROM saldo.webhook_deliveries WHERE webhook_id = $1 AND dead_at IS NULL) AS pending,
    ARRAY(
        SELECT wanted.user_id
        FROM unnest($2::bigint[]) AS wanted (user_id)
        WHERE EXISTS (
            SELECT FROM saldo.webhook_deliveries AS d
            WHERE d.webhook_id = $1 AND d.user_id = wanted.user_id AND d.dead_at IS NULL
        )
    ) AS user_ids
