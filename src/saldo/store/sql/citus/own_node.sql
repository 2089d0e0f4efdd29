-- On Citus, return this node's number, and the text that identifies the ledger; see citus/node_of_each_shard.sql.
SELECT g.groupid AS number, extract(epoch FROM l.created_at) || coalesce('-' || l.restore_id, '') AS ledger
FROM pg_dist_local_group AS g CROSS JOIN saldo.ledger AS l
