WITH counted AS MATERIALIZED (
    SELECT c.shard, c.seq FROM saldo.totals AS c
), next AS MATERIALIZED (
    SELECT min(t.recorded_at) AS recorded_at
    FROM saldo.shards AS s
    JOIN counted AS c ON c.shard = s.shard
    JOIN saldo.transactions AS t ON t.shard = s.shard AND t.seq = c.seq + 1
)
SELECT sum(c.users)::bigint AS users, sum(c.posted)::bigint AS posted, sum(c.refused)::bigint AS refused,
    sum(c.balance) AS balance,
    sum(c.deposited) AS deposited, sum(c.withdrawn) AS withdrawn,
    coalesce(extract(epoch FROM clock_timestamp() - (SELECT recorded_at FROM next)), 0)::double precision AS seconds_behind
FROM saldo.totals AS c
