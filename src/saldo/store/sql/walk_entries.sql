-- Entries of a shard in the columns of ENTRY_COLUMNS (saldo.ledger.seal). Copied, and so without arguments: the driver
-- would put them in by statements that a pooler forgets. What stands in braces are integers.
SELECT t.seq, t.user_id, t.number, t.amount, t.balance, t."timestamp", t.horizon, t.recorded_at,
    t.uuid, t.shard, t.kind, t.outcome
FROM saldo.transactions AS t
WHERE t.shard = {shard} AND t.seq > {after} AND t.seq <= {until}
ORDER BY t.seq
