-- Detect a pooler, by a statement that is prepared and run under the name $1.
-- backend_pid: a pid that differs from the one reported at login shows a pooler.
-- name_passed: the server knows the statement by this name, so the pooler does not track prepared statements.
SELECT pg_backend_pid() AS backend_pid,
    EXISTS (SELECT FROM pg_prepared_statements AS p WHERE p.name = $1) AS name_passed
