-- Keys: who may ask. Of a key only a hash is kept; one that has been revoked stays, or nobody could tell whose it was.
CREATE TABLE saldo.keys (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CONSTRAINT keys_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    -- SHA-256 of the key.
    hash bytea NOT NULL CONSTRAINT keys_hash_unique UNIQUE CONSTRAINT keys_hash_length CHECK (octet_length(hash) = 32),
    scopes text[] NOT NULL CONSTRAINT keys_scopes CHECK (
        cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'write', 'metrics', 'admin']
    ),
    -- null: all users.
    user_ids bigint[],
    -- null: from anywhere.
    networks cidr[],
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    -- The key that took its place.
    replaced_by bigint REFERENCES saldo.keys (id),
    CONSTRAINT keys_users_without_admin CHECK (user_ids IS NULL OR NOT scopes @> ARRAY['admin'])
);

-- Which change of the keys is the last one. A row of its own, changed together with them: so changes have an order, and
-- who has seen one has seen all before it.
CREATE TABLE saldo.keys_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

INSERT INTO saldo.keys_version DEFAULT VALUES;
