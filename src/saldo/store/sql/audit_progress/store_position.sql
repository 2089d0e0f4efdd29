-- Store the position and renew the lease. Returns no row if the epoch $1 is not the current one.
-- $3: the number of entries checked since the last call.
-- synchronous_commit is off, so that no commit of a batch waits for this commit. After a crash some entries are
-- checked again.
UPDATE saldo.audit
SET lease_until = clock_timestamp() + $2::interval, entries = entries + $3,
    shard = $4, seq = $5, recorded_at = $6, sealed_seq = $7, sealed_hash = $8,
    users = $9, posted = $10, refused = $11, balance = $12
WHERE epoch = $1 AND set_config('synchronous_commit', 'off', true) IS NOT NULL
RETURNING epoch
