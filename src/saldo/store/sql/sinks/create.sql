-- Create a sink if it does not exist. Its cursors are at the beginning of the log and of the notices (64).
WITH created AS (
    INSERT INTO saldo.sinks (name) VALUES ($1) ON CONFLICT (name) DO NOTHING RETURNING name
)
INSERT INTO saldo.cursors (sink, shard, seq)
SELECT name, shard, 0 FROM created CROSS JOIN generate_series(0, 64) AS shard
