-- Check that this server can answer queries, by reading the tables that all queries of the replica use.
SELECT l.lateness_bound, t.seq
FROM saldo.ledger AS l
LEFT JOIN LATERAL (
    SELECT e.seq FROM saldo.transactions AS e WHERE e.shard = 0 ORDER BY e.seq DESC LIMIT 1
) AS t ON true
