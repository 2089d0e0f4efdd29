-- Creates a table with the columns, indexes and checks of the log, and with the opening entries of the ledger.
CREATE TABLE saldo.copied (LIKE saldo.transactions INCLUDING ALL);
INSERT INTO saldo.copied SELECT * FROM saldo.transactions WHERE kind = 0 ORDER BY recorded_at, shard, seq;
