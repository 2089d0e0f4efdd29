-- Signed heads (saldo.ledger.heads): the newest head, which its number reserves, and the lease of the publisher. One
-- row. The published files contain the history, so this row does not grow. The signature protects its content.
CREATE TABLE saldo.head_publication (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The id of the ledger in all heads. A restored copy keeps it.
    ledger_id uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The number and the file of the newest head; 0 and null before the first one.
    number bigint NOT NULL DEFAULT 0,
    document bytea,
    -- False until the newest head is published. No other head is signed until then.
    is_published boolean NOT NULL DEFAULT true,
    -- The time of the last publication.
    published_at timestamptz,
    holder uuid,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    CONSTRAINT head_publication_document CHECK (number >= 0 AND (number = 0) = (document IS NULL))
) WITH (fillfactor = 50);

INSERT INTO saldo.head_publication DEFAULT VALUES;

COMMENT ON TABLE saldo.head_publication IS
    'The id of the ledger, its newest signed head, and the lease of the process that publishes heads.';
