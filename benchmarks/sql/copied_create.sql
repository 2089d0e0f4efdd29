-- A table with the log's columns, indexes and checks, and the entries that the ledger began with.
CREATE TABLE saldo.copied (LIKE saldo.transactions INCLUDING ALL);
INSERT INTO saldo.copied SELECT * FROM saldo.transactions WHERE kind = 0 ORDER BY recorded_at, shard, seq;
