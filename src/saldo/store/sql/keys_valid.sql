-- Which change this is as of, whether there has ever been a key, and the keys that are valid still.
SELECT v.version, EXISTS (SELECT FROM saldo.keys) AS any_key, k.id, k.name, k.hash, k.scopes, k.user_ids, k.networks,
    extract(epoch FROM k.expires_at)::float8 AS expires_at
FROM saldo.keys_version AS v
LEFT JOIN saldo.keys AS k ON k.revoked_at IS NULL AND coalesce(k.expires_at > clock_timestamp(), true)
