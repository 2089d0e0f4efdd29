-- Return the user $1's last number, and the number up to which all entries were recorded by $2 (0 if $2 is null).
SELECT last_number, floor_number FROM saldo.numbers_on_shard_1(($1::bigint & 63)::smallint, $1, $2)
