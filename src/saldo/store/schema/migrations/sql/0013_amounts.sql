-- The sums of posted deposits and withdrawals, in minor units, for the money flow in the metrics. Entries that were
-- counted before this migration are not included.
ALTER TABLE saldo.totals
    ADD COLUMN deposited numeric(40, 0) NOT NULL DEFAULT 0,
    ADD COLUMN withdrawn numeric(40, 0) NOT NULL DEFAULT 0;
