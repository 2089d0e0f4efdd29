-- Whether this is the coordinator, and how many nodes may have shards.
SELECT citus_is_coordinator(), (
    SELECT count(*) FROM pg_dist_node AS n WHERE n.noderole = 'primary' AND n.isactive AND n.shouldhaveshards
)
