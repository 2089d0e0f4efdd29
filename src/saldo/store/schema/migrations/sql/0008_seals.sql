-- Seals: each stands for some consecutive entries of a shard, and for the seal before it (saldo.ledger.seal).
CREATE TABLE saldo.seals (
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    -- Of the Merkle tree over the entries.
    root bytea NOT NULL CONSTRAINT seals_root_length CHECK (octet_length(root) = 32),
    -- Of the seal before, the positions and the root.
    hash bytea NOT NULL CONSTRAINT seals_hash_length CHECK (octet_length(hash) = 32),
    sealed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    shard smallint NOT NULL CONSTRAINT seals_shard CHECK (shard BETWEEN 0 AND 63),
    -- Also the fence between two who seal at the same time.
    CONSTRAINT seals_pkey PRIMARY KEY (shard, first_seq),
    CONSTRAINT seals_positions CHECK (first_seq > 0 AND last_seq BETWEEN first_seq AND first_seq + 1023)
) WITH (
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 1000000,
    autovacuum_freeze_min_age = 0
);

COMMENT ON TABLE saldo.seals IS
    'Hashes over consecutive entries of a shard, chained. Append-only; checked by saldo verify.';

-- Against accidents, as on the log itself; what it says names the table.
CREATE FUNCTION saldo.refuse_to_alter_seals() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on saldo.seals is refused: it is append-only', TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER seals_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON saldo.seals
    FOR EACH STATEMENT EXECUTE FUNCTION saldo.refuse_to_alter_seals();
