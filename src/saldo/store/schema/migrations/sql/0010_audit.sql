-- The audit in the background (saldo.relay.auditing): how far it is, and which process does it. One row.
CREATE TABLE saldo.audit (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Who works has the lease of the current epoch.
    epoch bigint NOT NULL DEFAULT 0,
    holder uuid,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    -- Rounds completed, and entries looked at in all rounds.
    rounds bigint NOT NULL DEFAULT 0,
    entries bigint NOT NULL DEFAULT 0,
    round_began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_round_ended_at timestamptz,
    -- The position in this round (saldo.ledger.audit.Position). Shards before it are done; 64: all are.
    shard smallint NOT NULL DEFAULT 0 CONSTRAINT audit_shard CHECK (shard BETWEEN 0 AND 64),
    seq bigint NOT NULL DEFAULT 0,
    -- Microseconds since 2000, as the audit counts.
    recorded_at bigint NOT NULL DEFAULT -9223372036854775808,
    sealed_seq bigint NOT NULL DEFAULT 0,
    sealed_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    users bigint NOT NULL DEFAULT 0,
    posted bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    balance numeric(40, 0) NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

INSERT INTO saldo.audit DEFAULT VALUES;

-- What was found that can't be in a ledger that is whole (saldo.ledger.audit.Fault). A row each, however often it is found.
CREATE TABLE saldo.audit_faults (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard smallint NOT NULL,
    seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    rule text NOT NULL,
    found text NOT NULL,
    expected text NOT NULL,
    uuid uuid,
    user_id bigint,
    number bigint,
    first_found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    times_found bigint NOT NULL DEFAULT 1,
    -- By an operator who has seen to it; null: by nobody.
    acknowledged_at timestamptz,
    acknowledged_why text,
    CONSTRAINT audit_faults_once UNIQUE NULLS NOT DISTINCT (shard, seq, rule, user_id)
);

-- Counted until now; what is wrong stands in audit_faults from here on. Older processes still count, for two releases.
COMMENT ON COLUMN saldo.totals.faults IS 'Not used any more: see saldo.audit_faults.';
