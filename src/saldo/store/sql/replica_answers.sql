-- Whether this server can be asked: what every question reads.
SELECT l.lateness_bound, t.seq
FROM saldo.ledger AS l
LEFT JOIN LATERAL (
    SELECT e.seq FROM saldo.transactions AS e WHERE e.shard = 0 ORDER BY e.seq DESC LIMIT 1
) AS t ON true
