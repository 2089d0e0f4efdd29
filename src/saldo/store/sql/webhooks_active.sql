-- What is to be relayed now.
SELECT id, url, event_types, user_ids, secret FROM saldo.webhooks WHERE disabled_at IS NULL ORDER BY id
