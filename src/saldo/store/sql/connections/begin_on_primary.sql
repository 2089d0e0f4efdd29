-- Begin a transaction that fails on a standby, even if its statements only read. Functions that are called in the
-- transaction may lock a shard. If this process stops between two round trips, the timeout limits how long the shard
-- stays locked.
BEGIN READ WRITE;
SET LOCAL idle_in_transaction_session_timeout = '5s'
