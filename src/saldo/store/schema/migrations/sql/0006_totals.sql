-- What the ledger holds, by shard: counted by a reader of the log, never on the write path. All up to seq is in it.
CREATE TABLE saldo.totals (
    shard smallint PRIMARY KEY CONSTRAINT totals_shard CHECK (shard BETWEEN 0 AND 63),
    seq bigint NOT NULL DEFAULT 0,
    users bigint NOT NULL DEFAULT 0,
    posted bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    -- The sum of the users' balances, minor units: more than a bigint holds.
    balance numeric(40, 0) NOT NULL DEFAULT 0,
    -- Entries whose balance is negative, or doesn't follow from the entry before.
    faults bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

INSERT INTO saldo.totals (shard) SELECT generate_series(0, 63);
