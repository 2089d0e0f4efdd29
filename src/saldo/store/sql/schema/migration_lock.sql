-- Try to get the lock of the migrations, which is released with the transaction. The caller polls and does not wait. A
-- waiting transaction would hold a snapshot, and a concurrent index build would wait for that snapshot.
SELECT pg_try_advisory_xact_lock(hashtext('saldo.migrations'))
