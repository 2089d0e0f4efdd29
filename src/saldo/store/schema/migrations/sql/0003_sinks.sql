-- Where the log is relayed to, and how far. The log itself is the outbox: nothing is queued elsewhere.

CREATE TABLE saldo.sinks (
    name text PRIMARY KEY CONSTRAINT sinks_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    -- Rises with every relay that takes the lease: one that was paused and goes on is fenced by it.
    epoch bigint NOT NULL DEFAULT 0,
    holder uuid,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    -- Rises when an operator moves the cursors: what is published then again is no redelivery.
    rewinds bigint NOT NULL DEFAULT 0,
    events_published bigint NOT NULL DEFAULT 0,
    -- Confirmed by the sink, which had nobody to give them to.
    events_unrouted bigint NOT NULL DEFAULT 0,
    failures bigint NOT NULL DEFAULT 0,
    last_failure text,
    last_failure_at timestamptz
) WITH (fillfactor = 50);

-- Everything of the shard up to seq has been confirmed by the sink.
CREATE TABLE saldo.cursors (
    sink text NOT NULL REFERENCES saldo.sinks ON DELETE CASCADE,
    shard smallint NOT NULL CONSTRAINT cursors_shard CHECK (shard BETWEEN 0 AND 63),
    seq bigint NOT NULL CONSTRAINT cursors_seq CHECK (seq >= 0),
    PRIMARY KEY (sink, shard)
) WITH (
    -- Few rows, updated all the time: room for the new versions beside the old, swept early.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000
);
