-- Return a user's posted transactions between two numbers. The statement is run by COPY, and the values in braces are
-- integers (see audit_scan/entries.sql).
SELECT t.number, t.amount, t."timestamp"
FROM saldo.transactions AS t
WHERE t.user_id = {user_id} AND t.number > {after} AND t.number <= {until} AND t.outcome = 0 AND t.kind <> 0
    --citus AND t.shard = ({user_id}::bigint & 63)::smallint
