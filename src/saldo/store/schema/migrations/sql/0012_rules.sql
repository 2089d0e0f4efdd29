-- What was known up to this moment has been asked (balance_2), so that nothing may be recorded by then any more, even
-- if the clock of the server is put back. null: nobody has asked.
ALTER TABLE saldo.ledger ADD COLUMN known_until timestamptz;

-- The same once more, for saldo verify: a change of one of the two shows. null: created by an older version.
ALTER TABLE saldo.ledger ADD COLUMN decimals_at_creation smallint;

-- Until now a day of max_lateness was a day of the calendar in the zone of the session that posted, and such a day may
-- be longer than 24 hours. 26 hours lie between the zones of the earth that are furthest apart.
UPDATE saldo.ledger
SET lateness_bound = lateness_bound + interval '26 hours',
    decimals_at_creation = currency_decimals;
