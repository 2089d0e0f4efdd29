-- Notices: what the service has decided of itself and its operators must learn of. Not of the log, which is money and users
-- alone; but relayed like it, with a cursor of every sink, as if they stood in a shard after the last: 64.

CREATE TABLE saldo.notices (
    -- Gapless, in the order of the commits: who writes a number at the same time clashes, and tries the next one.
    seq bigint PRIMARY KEY CONSTRAINT notices_seq CHECK (seq > 0),
    uuid uuid NOT NULL DEFAULT gen_random_uuid(),
    recorded_at timestamptz NOT NULL,
    -- Not a reference: it stays when the webhook is deleted.
    webhook_id bigint NOT NULL,
    reason text NOT NULL CONSTRAINT notices_reason CHECK (reason IN ('gone', 'failing')),
    failing_since timestamptz,
    last_failure text
);

ALTER TABLE saldo.cursors DROP CONSTRAINT cursors_shard,
    ADD CONSTRAINT cursors_shard CHECK (shard BETWEEN 0 AND 64);
ALTER TABLE saldo.webhook_deliveries DROP CONSTRAINT webhook_deliveries_shard,
    ADD CONSTRAINT webhook_deliveries_shard CHECK (shard BETWEEN 0 AND 64);

INSERT INTO saldo.cursors (sink, shard, seq) SELECT s.name, 64, 0 FROM saldo.sinks AS s;
