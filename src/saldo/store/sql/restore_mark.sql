-- From now on it is another log than the one it was copied from, however often that is done.
UPDATE saldo.ledger SET restore_id = gen_random_uuid()
