-- Free, run out, or our own: then the epoch is ours. By the database's clock alone.
UPDATE saldo.sinks
SET epoch = epoch + 1, holder = $2, lease_until = clock_timestamp() + $3::interval
WHERE name = $1 AND (lease_until < clock_timestamp() OR holder = $2)
RETURNING epoch, rewinds
