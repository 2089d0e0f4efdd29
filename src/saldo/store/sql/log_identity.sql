-- A promoted standby has another timeline; a restored copy another restore_id, too: restored twice from one backup, it has
-- the same timeline both times.
SELECT (SELECT system_identifier FROM pg_control_system()) || '-' || (SELECT timeline_id FROM pg_control_checkpoint())
    || coalesce((SELECT '-' || restore_id FROM saldo.ledger), '')
