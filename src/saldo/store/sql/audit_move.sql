-- Moves the position and renews the lease; no row when the epoch is not the current one. $3: entries looked at since.
-- synchronous_commit: what a crash forgets is looked at again, and no commit of posting waits for this.
UPDATE saldo.audit
SET lease_until = clock_timestamp() + $2::interval, entries = entries + $3,
    shard = $4, seq = $5, recorded_at = $6, sealed_seq = $7, sealed_hash = $8,
    users = $9, posted = $10, refused = $11, balance = $12
WHERE epoch = $1 AND set_config('synchronous_commit', 'off', true) IS NOT NULL
RETURNING epoch
