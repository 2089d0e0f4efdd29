-- Return the balance of the user $1 at each of the times $2.
SELECT unnest(moments) AS moment, unnest(balances) AS balance
FROM saldo.balances_on_shard_2(($1::bigint & 63)::smallint, $1, $2)
ORDER BY 1
