-- Return the version of the last change, whether a key has ever existed, and all keys that are valid now.
SELECT v.version, EXISTS (SELECT FROM saldo.keys) OR v.version > 0 AS any_key, k.id, k.name, k.hash, k.scopes, k.user_ids, k.networks,
    extract(epoch FROM k.expires_at)::float8 AS expires_at
FROM saldo.keys_version AS v
LEFT JOIN saldo.keys AS k ON k.revoked_at IS NULL AND coalesce(k.expires_at > clock_timestamp(), true)
