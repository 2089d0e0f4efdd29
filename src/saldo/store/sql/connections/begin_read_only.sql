-- Begin a transaction for a command that only reads.
BEGIN READ ONLY
