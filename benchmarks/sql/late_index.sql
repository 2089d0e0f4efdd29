CREATE INDEX transactions_late ON saldo.transactions (user_id, horizon, "timestamp")
    INCLUDE (number, amount)
    WHERE outcome = 0 AND "timestamp" < horizon
