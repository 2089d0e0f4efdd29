-- Free, run out, or our own: then the epoch is ours. By the database's clock alone.
UPDATE saldo.audit
SET epoch = epoch + 1, holder = $1, lease_until = clock_timestamp() + $2::interval
WHERE lease_until < clock_timestamp() OR holder = $1
RETURNING epoch, shard, seq, recorded_at, sealed_seq, sealed_hash, users, posted, refused, balance
