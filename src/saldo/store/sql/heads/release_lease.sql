UPDATE saldo.head_publication SET lease_until = '-infinity' WHERE holder = $1 RETURNING number
