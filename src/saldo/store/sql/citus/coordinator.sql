-- On a node of a Citus cluster, return the coordinator's address as the nodes use it, and whether it is another node.
SELECT n.nodename AS host, n.nodeport AS port, g.groupid <> 0 AS elsewhere
FROM pg_dist_local_group AS g
JOIN pg_dist_node AS n ON n.groupid = 0 AND n.noderole = 'primary'
