SELECT balance, known_too_new FROM saldo.balance_on_shard_2(($1::bigint & 63)::smallint, $1, $2, $3)
