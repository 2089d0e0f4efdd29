-- The user's last number, and the number up to which nothing was recorded after $2 (null: 0).
SELECT last_number, floor_number FROM saldo.numbers_on_shard_1(($1::bigint & 63)::smallint, $1, $2)
