-- Disable a webhook and record a notice. Returns no row if it is disabled already. Two notices at the same time
-- conflict on seq, and the caller retries.
WITH disabled AS (
    UPDATE saldo.webhooks
    SET disabled_at = clock_timestamp(), disabled_reason = $2
    WHERE id = $1 AND disabled_at IS NULL
    RETURNING id, disabled_at, disabled_reason, failing_since, last_failure
)
INSERT INTO saldo.notices (seq, recorded_at, webhook_id, reason, failing_since, last_failure)
SELECT (SELECT coalesce(max(n.seq), 0) + 1 FROM saldo.notices AS n),
    d.disabled_at, d.id, d.disabled_reason, d.failing_since, d.last_failure
FROM disabled AS d
RETURNING seq
