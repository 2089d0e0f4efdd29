-- Check that this server can answer queries, by a read of the tables that every query of the replica uses.
SELECT l.lateness_bound, t.seq
FROM saldo.ledger AS l
LEFT JOIN LATERAL (
    SELECT e.seq FROM saldo.transactions AS e WHERE e.shard = 0 ORDER BY e.seq DESC LIMIT 1
) AS t ON true
