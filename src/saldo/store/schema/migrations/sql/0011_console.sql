-- The console (saldo.console): who is signed in, and what finding a user by name needs.
-- Of a session's secret only a hash is kept, and of the key that it was begun with only a hash together with that secret.
CREATE TABLE saldo.console_sessions (
    -- SHA-256 of the session's secret.
    hash bytea PRIMARY KEY CONSTRAINT console_sessions_hash_length CHECK (octet_length(hash) = 32),
    -- The key's name in the log: `key 7`, or that of a setting.
    holder text NOT NULL,
    -- SHA-256 of the session's secret and the key's hash: the session ends with the key, whoever takes its name.
    binding bytea NOT NULL CONSTRAINT console_sessions_binding_length CHECK (octet_length(binding) = 32),
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    used_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);

CREATE INDEX console_sessions_of_holder ON saldo.console_sessions (holder, used_at);
