SELECT t.balance FROM saldo.transactions AS t WHERE t.user_id = $1 ORDER BY t.number DESC LIMIT 1
