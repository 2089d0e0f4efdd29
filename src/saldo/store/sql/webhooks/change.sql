-- Change the given values of a webhook. If the webhook is enabled again, its deliveries become due now, and
-- failing_since is cleared.
WITH changed AS (
    UPDATE saldo.webhooks
    SET url = coalesce($2, url), secret = coalesce($3, secret),
        previous_secret = CASE WHEN $3 <> secret THEN secret ELSE previous_secret END,
        previous_secret_until = CASE WHEN $3 <> secret THEN clock_timestamp() + $9::interval
            ELSE previous_secret_until END,
        event_types = CASE WHEN $4::boolean THEN $5 ELSE event_types END,
        user_ids = CASE WHEN $6::boolean THEN $7 ELSE user_ids END,
        disabled_at = CASE WHEN $8::boolean THEN NULL
            WHEN NOT $8 THEN coalesce(disabled_at, clock_timestamp()) ELSE disabled_at END,
        disabled_reason = CASE WHEN $8 THEN NULL
            WHEN NOT $8 THEN coalesce(disabled_reason, 'requested') ELSE disabled_reason END,
        failing_since = CASE WHEN $8 THEN NULL ELSE failing_since END
    WHERE id = $1
    RETURNING id
), hastened AS (
    UPDATE saldo.webhook_deliveries AS d
    SET next_attempt_at = clock_timestamp()
    FROM changed
    WHERE d.webhook_id = changed.id AND d.dead_at IS NULL AND $8
)
SELECT id FROM changed
