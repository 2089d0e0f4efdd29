-- Try to get the lock of the migrations, which is released with the transaction. The caller polls, because a
-- transaction that waits has a snapshot, and a concurrent index build would wait for that.
SELECT pg_try_advisory_xact_lock(hashtext('saldo.migrations'))
