-- On a node of a Citus cluster: the coordinator, as the nodes reach it, and whether this is another one.
SELECT n.nodename AS host, n.nodeport AS port, g.groupid <> 0 AS elsewhere
FROM pg_dist_local_group AS g
JOIN pg_dist_node AS n ON n.groupid = 0 AND n.noderole = 'primary'
