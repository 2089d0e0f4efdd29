-- Give the ledger a new identity, which differs from the original's and from that of every other restored copy.
UPDATE saldo.ledger SET restore_id = gen_random_uuid()
