-- Take the lease if it is free, expired, or already held by $2, and return the new epoch. Only the database's clock
-- decides.
UPDATE saldo.sinks
SET epoch = epoch + 1, holder = $2, lease_until = clock_timestamp() + $3::interval
WHERE name = $1 AND (lease_until < clock_timestamp() OR holder = $2)
RETURNING epoch, rewinds
