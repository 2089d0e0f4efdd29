-- Complete a round, so that the next one starts at the beginning. Returns no row if $1 is not the current epoch.
UPDATE saldo.audit
SET lease_until = clock_timestamp() + $2::interval, rounds = rounds + 1,
    round_began_at = clock_timestamp(), last_round_ended_at = clock_timestamp(),
    shard = DEFAULT, seq = DEFAULT, recorded_at = DEFAULT, sealed_seq = DEFAULT, sealed_hash = DEFAULT,
    users = DEFAULT, posted = DEFAULT, refused = DEFAULT, balance = DEFAULT
WHERE epoch = $1
RETURNING epoch
