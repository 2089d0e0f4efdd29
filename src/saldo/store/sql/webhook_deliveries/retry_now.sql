-- Make all pending deliveries due now, because the endpoint answers again.
UPDATE saldo.webhook_deliveries
SET next_attempt_at = clock_timestamp()
WHERE webhook_id = $1 AND dead_at IS NULL AND next_attempt_at > clock_timestamp()
