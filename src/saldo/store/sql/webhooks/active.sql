-- Return the webhooks that are not disabled.
SELECT id, url, event_types, user_ids, secret,
    CASE WHEN previous_secret_until > clock_timestamp() THEN previous_secret END AS previous_secret
FROM saldo.webhooks
WHERE disabled_at IS NULL
ORDER BY id
