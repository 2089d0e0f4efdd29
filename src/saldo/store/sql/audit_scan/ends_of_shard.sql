-- Return, in one snapshot, the end of the shard $1, the end of its last seal, the maximum lateness (microseconds), and
-- the shard's totals (saldo.totals).
SELECT
    coalesce((SELECT max(t.seq) FROM saldo.transactions AS t WHERE t.shard = $1), 0) AS head,
    coalesce((SELECT s.last_seq FROM saldo.seals AS s WHERE s.shard = $1 ORDER BY s.first_seq DESC LIMIT 1), 0) AS sealed,
    -- A day has 24 hours.
    (SELECT (extract(epoch FROM l.lateness_bound) * 1000000)::bigint FROM saldo.ledger AS l) AS lateness_bound,
    c.seq, c.users, c.posted, c.refused, c.balance
FROM saldo.totals AS c
WHERE c.shard = $1
