-- Subscriptions of webhooks. Each is a sink of its own, webhook-<id>, in saldo.sinks and saldo.cursors.

CREATE TABLE saldo.webhooks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    url text NOT NULL CONSTRAINT webhooks_url_length CHECK (char_length(url) BETWEEN 1 AND 10000),
    -- null: all.
    event_types text[] CONSTRAINT webhooks_event_types_some CHECK (cardinality(event_types) > 0),
    -- null: all.
    user_ids bigint[] CONSTRAINT webhooks_user_ids_some CHECK (cardinality(user_ids) > 0),
    -- As it is: a signature can't be made from a hash of it.
    secret text NOT NULL,
    -- Signs, too, until then: so that a receiver needn't change at the same moment.
    previous_secret text,
    previous_secret_until timestamptz NOT NULL DEFAULT '-infinity',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    disabled_at timestamptz,
    disabled_reason text
        CONSTRAINT webhooks_disabled_reason CHECK (disabled_reason IN ('requested', 'gone', 'failing')),
    -- Since when no attempt has succeeded; null: the last one did, or there was none.
    failing_since timestamptz,
    attempts_succeeded bigint NOT NULL DEFAULT 0,
    attempts_failed bigint NOT NULL DEFAULT 0,
    last_failure text,
    last_failure_at timestamptz,
    CONSTRAINT webhooks_disabled CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
) WITH (fillfactor = 50);

-- Events that the cursor of a webhook has left behind: they wait for a retry, or behind one of the same user that
-- does, or nobody tries any more (dead). Only where they stand in the log: the body is made from there again.
CREATE TABLE saldo.webhook_deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY,
    webhook_id bigint NOT NULL REFERENCES saldo.webhooks ON DELETE CASCADE,
    seq bigint NOT NULL,
    user_id bigint NOT NULL,
    -- Of the entry: after a restore another may stand at its position.
    uuid uuid NOT NULL,
    waiting_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_attempt_at timestamptz NOT NULL,
    last_attempt_at timestamptz,
    dead_at timestamptz,
    attempts integer NOT NULL CONSTRAINT webhook_deliveries_attempts CHECK (attempts >= 0),
    shard smallint NOT NULL CONSTRAINT webhook_deliveries_shard CHECK (shard BETWEEN 0 AND 63),
    last_failure text,
    PRIMARY KEY (webhook_id, shard, seq)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The first of each user that waits. A user's events stand in one shard: their order is that of seq.
CREATE INDEX webhook_deliveries_waiting ON saldo.webhook_deliveries (webhook_id, user_id, seq) WHERE dead_at IS NULL;

-- Pages.
CREATE UNIQUE INDEX webhook_deliveries_pages ON saldo.webhook_deliveries (webhook_id, id);
