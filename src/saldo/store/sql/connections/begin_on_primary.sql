-- Begin a transaction that fails on a standby, whatever its statements are. Functions called in it may lock a shard.
-- The timeout limits how long a process that stops between two round trips keeps the shard locked for others.
BEGIN READ WRITE;
SET LOCAL idle_in_transaction_session_timeout = '5s'
