-- On Citus, return the node of each shard, in the order of the shards. The last two columns are the values that
-- citus/own_node.sql returns on that node.
SELECT n.nodename AS host, n.nodeport AS port, n.groupid AS number,
    -- This is not formatted as a date, because two nodes may format it in different time zones.
    extract(epoch FROM l.created_at) || coalesce('-' || l.restore_id, '') AS ledger
FROM generate_series(0, 63) AS shard
JOIN pg_dist_shard AS s
    ON s.logicalrelid = 'saldo.transactions'::regclass
    AND hashint2(shard.shard::smallint) BETWEEN s.shardminvalue::int AND s.shardmaxvalue::int
JOIN pg_dist_placement AS p ON p.shardid = s.shardid
JOIN pg_dist_node AS n ON n.groupid = p.groupid AND n.noderole = 'primary'
CROSS JOIN saldo.ledger AS l
ORDER BY shard.shard
