-- A restored copy has another system identifier or another timeline, a promoted standby another timeline.
SELECT (SELECT system_identifier FROM pg_control_system()) || '-' || (SELECT timeline_id FROM pg_control_checkpoint())
