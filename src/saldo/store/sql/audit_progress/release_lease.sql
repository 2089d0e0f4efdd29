UPDATE saldo.audit SET holder = NULL, lease_until = '-infinity' WHERE epoch = $1 RETURNING epoch
