-- Delete a webhook with its deliveries, and its sink with the cursors.
WITH gone AS (
    DELETE FROM saldo.webhooks WHERE id = $1 RETURNING id
), sink AS (
    DELETE FROM saldo.sinks AS s USING gone WHERE s.name = 'webhook-' || gone.id
)
SELECT id FROM gone
