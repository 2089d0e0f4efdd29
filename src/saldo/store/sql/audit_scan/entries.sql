-- Return entries of a shard in the columns of ENTRY_COLUMNS (saldo.ledger.seals). The statement is run by COPY and has
-- no arguments, because the driver would pass them with prepared statements, which a pooler may lose. The values in
-- braces are integers.
SELECT t.seq, t.user_id, t.number, t.amount, t.balance, t."timestamp", t.horizon, t.recorded_at,
    t.uuid, t.shard, t.kind, t.outcome
FROM saldo.transactions AS t
WHERE t.shard = {shard} AND t.seq > {after} AND t.seq <= {until}
ORDER BY t.seq
