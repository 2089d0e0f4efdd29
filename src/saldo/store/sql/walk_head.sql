-- Of the shard $1, in one snapshot: where it ends, where its last seal ends, and what has been counted of it (saldo.totals).
SELECT
    coalesce((SELECT max(t.seq) FROM saldo.transactions AS t WHERE t.shard = $1), 0) AS head,
    coalesce((SELECT s.last_seq FROM saldo.seals AS s WHERE s.shard = $1 ORDER BY s.first_seq DESC LIMIT 1), 0) AS sealed,
    c.seq, c.users, c.posted, c.refused, c.balance
FROM saldo.totals AS c
WHERE c.shard = $1
