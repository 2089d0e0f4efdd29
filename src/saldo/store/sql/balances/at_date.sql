SELECT balance, known_too_new FROM saldo.balance_2($1, $2, $3)
