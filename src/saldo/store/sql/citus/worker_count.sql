-- Return whether this is the coordinator, and the number of nodes that may store shards.
SELECT citus_is_coordinator(), (
    SELECT count(*) FROM pg_dist_node AS n WHERE n.noderole = 'primary' AND n.isactive AND n.shouldhaveshards
)
