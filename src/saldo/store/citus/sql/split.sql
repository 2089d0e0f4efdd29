-- On Citus: create one Citus shard for each of Saldo's 64 shards, spread evenly over the workers. If Citus created 64
-- shards by hash ranges, only 39 of them would be used. The first Citus shard is therefore split between the hashes of
-- the 64 values. Citus requires a separate transaction for this.
SELECT citus_split_shard_by_split_points(
    (SELECT s.shardid FROM pg_dist_shard AS s WHERE s.logicalrelid = 'saldo.shards'::regclass),
    array_agg(place.hash::text ORDER BY place.hash) FILTER (WHERE NOT place.last),
    array_agg(place.nodeid ORDER BY place.hash),
    'block_writes'
)
FROM (
    -- Shards with consecutive numbers are placed on different workers, because users get consecutive ids.
    SELECT hashed.hash, hashed.hash = max(hashed.hash) OVER () AS last, node.nodeid
    FROM (SELECT shard, hashint2(shard::smallint) AS hash FROM generate_series(0, 63) AS shard) AS hashed
    JOIN (
        SELECT n.nodeid, row_number() OVER (ORDER BY n.nodeid) - 1 AS number, count(*) OVER () AS nodes
        FROM pg_dist_node AS n
        WHERE n.noderole = 'primary' AND n.isactive AND n.shouldhaveshards
    ) AS node ON node.number = hashed.shard % node.nodes
) AS place;
