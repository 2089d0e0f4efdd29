-- Take the lease if it is free, expired, or already held by $1, and return the new epoch and the position.
-- Only the database's clock decides.
UPDATE saldo.audit
SET epoch = epoch + 1, holder = $1, lease_until = clock_timestamp() + $2::interval
WHERE lease_until < clock_timestamp() OR holder = $1
RETURNING epoch, shard, seq, recorded_at, sealed_seq, sealed_hash, users, posted, refused, balance
