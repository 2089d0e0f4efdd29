-- Prepared under the name $1 and run as that: what stands between us and the server.
-- backend_pid: another than the one we were told at login means a pooler.
-- name_passed: the server knows the statement by our name, so the pooler keeps no account of it.
SELECT pg_backend_pid() AS backend_pid,
    EXISTS (SELECT FROM pg_prepared_statements AS p WHERE p.name = $1) AS name_passed
