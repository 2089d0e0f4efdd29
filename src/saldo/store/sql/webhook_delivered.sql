DELETE FROM saldo.webhook_deliveries WHERE webhook_id = $1 AND shard = $2 AND seq = $3
