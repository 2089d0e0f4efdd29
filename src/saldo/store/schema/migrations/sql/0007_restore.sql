-- Which restore this database came from. A restored log gives positions again, for other entries: relays and clients
-- tell by the log's identity, of which this is a part. null: never restored.
ALTER TABLE saldo.ledger ADD COLUMN restore_id uuid;

COMMENT ON COLUMN saldo.ledger.restore_id IS
    'Part of the identity of the log. Set anew by whoever puts back an earlier state of this database.';
