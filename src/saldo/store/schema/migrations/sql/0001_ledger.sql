-- The log and what stands beside it. Numbers of kind and outcome: saldo.ledger.model.

CREATE SCHEMA IF NOT EXISTS saldo;

-- What is fixed for the whole ledger, whichever process asks. One row.
CREATE TABLE saldo.ledger (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Minor units mean nothing without it: another value would re-price every balance.
    currency_decimals smallint NOT NULL CHECK (currency_decimals BETWEEN 0 AND 8),
    -- How late a new entry may be; null: any.
    max_lateness interval,
    -- How late any entry of the log is at most, so that readers may stop looking; null: unknown.
    lateness_bound interval,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE saldo.users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CONSTRAINT users_name_unique UNIQUE
        CONSTRAINT users_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL
);

-- The log: the one table that holds the truth. Wide columns first, so that no row is padded.
CREATE TABLE saldo.transactions (
    seq bigint NOT NULL,
    user_id bigint NOT NULL,
    number bigint NOT NULL,
    amount bigint NOT NULL,
    balance bigint NOT NULL,
    "timestamp" timestamptz NOT NULL,
    horizon timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    uuid uuid NOT NULL,
    shard smallint NOT NULL,
    kind smallint NOT NULL,
    outcome smallint NOT NULL,
    -- Also the fence against a writer that evades the shard's lock.
    CONSTRAINT transactions_pkey PRIMARY KEY (shard, seq),
    -- Exactly once.
    CONSTRAINT transactions_uuid_unique UNIQUE (uuid),
    -- The index of a user's history, and the fence against a double spend.
    CONSTRAINT transactions_user_number_unique UNIQUE (user_id, number),
    CONSTRAINT transactions_shard_of_user CHECK (user_id > 0 AND shard = user_id % 64),
    CONSTRAINT transactions_positions CHECK (seq > 0 AND number >= 0),
    CONSTRAINT transactions_never_negative CHECK (balance BETWEEN 0 AND 100000000000000000),
    CONSTRAINT transactions_amount_of_kind CHECK (
        (kind = 0 AND number = 0 AND amount = 0 AND balance = 0 AND outcome = 0
            AND "timestamp" = '-infinity')
        OR (kind = 1 AND number > 0 AND amount BETWEEN 1 AND 1000000000000000)
        OR (kind = 2 AND number > 0 AND amount BETWEEN -1000000000000000 AND -1)
    ),
    CONSTRAINT transactions_outcome CHECK (outcome BETWEEN 0 AND 2),
    CONSTRAINT transactions_horizon CHECK (outcome <> 0 OR "timestamp" <= horizon)
) WITH (
    -- Appended to only: freeze early and often, or one day everything is frozen at once.
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 1000000,
    autovacuum_freeze_min_age = 0
);

-- Late posted entries, normally none: all that a balance at a date must add to one entry.
CREATE INDEX transactions_late ON saldo.transactions (user_id, horizon, "timestamp")
    INCLUDE (number, amount)
    WHERE outcome = 0 AND "timestamp" < horizon;

COMMENT ON TABLE saldo.transactions IS
    'The append-only log. kind: 0 opening, 1 deposit, 2 withdrawal. '
    'outcome: 0 posted, 1 insufficient funds, 2 balance above maximum. amount and balance: minor units.';

-- The roles below can't alter history; this stops the owner and the superuser from doing it by accident.
CREATE FUNCTION saldo.refuse_to_alter_history() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on saldo.transactions is refused: the log is append-only', TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'To correct a balance, post a transaction that corrects it.';
END
$$;

CREATE TRIGGER transactions_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON saldo.transactions
    FOR EACH STATEMENT EXECUTE FUNCTION saldo.refuse_to_alter_history();
