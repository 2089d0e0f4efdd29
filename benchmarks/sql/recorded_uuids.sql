SELECT uuid FROM saldo.transactions WHERE kind <> 0 LIMIT %s
