-- Move every cursor of the sink $1, and end the lease of its holder.
WITH sink AS (
    UPDATE saldo.sinks
    SET epoch = epoch + 1, rewinds = rewinds + 1, holder = NULL, lease_until = '-infinity'
    WHERE name = $1
    RETURNING name
)
UPDATE saldo.cursors AS c
SET seq = target.seq
FROM sink CROSS JOIN unnest($2::smallint[], $3::bigint[]) AS target (shard, seq)
WHERE c.sink = sink.name AND c.shard = target.shard
RETURNING c.shard, c.seq
