SELECT balance, known_too_new FROM saldo.balance_1($1, $2, $3)
