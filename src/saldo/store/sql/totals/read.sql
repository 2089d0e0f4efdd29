SELECT sum(c.users)::bigint AS users, sum(c.posted)::bigint AS posted, sum(c.refused)::bigint AS refused,
    sum(c.balance) AS balance,
    sum(c.deposited) AS deposited, sum(c.withdrawn) AS withdrawn,
    coalesce(extract(epoch FROM clock_timestamp() - min(next.recorded_at)), 0)::double precision AS seconds_behind
FROM saldo.totals AS c
LEFT JOIN saldo.transactions AS next ON next.shard = c.shard AND next.seq = c.seq + 1
