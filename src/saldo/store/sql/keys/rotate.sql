-- Replace the valid key $1 by one with the same rights and the hash $2. The old key remains valid for at most $3.
-- Returns no row if the key is not valid, or was replaced before.
WITH changed AS (
    UPDATE saldo.keys_version SET version = version + 1
    -- The version is increased only if there is such a key. A version above 0 means that a key has existed, so that
    -- requests must be authenticated.
    WHERE EXISTS (
        SELECT FROM saldo.keys AS k
        WHERE k.id = $1 AND k.revoked_at IS NULL AND k.replaced_by IS NULL
            AND coalesce(k.expires_at > clock_timestamp(), true)
    )
    RETURNING version
), old AS (
    SELECT k.* FROM saldo.keys AS k, changed
    WHERE k.id = $1 AND k.revoked_at IS NULL AND k.replaced_by IS NULL
        AND coalesce(k.expires_at > clock_timestamp(), true)
    FOR UPDATE OF k
), new AS (
    INSERT INTO saldo.keys (name, hash, scopes, user_ids, networks, expires_at)
    SELECT old.name, $2, old.scopes, old.user_ids, old.networks, old.expires_at FROM old
    RETURNING id
)
UPDATE saldo.keys AS k
SET replaced_by = new.id, expires_at = least(k.expires_at, clock_timestamp() + $3::interval)
FROM new
WHERE k.id = $1
RETURNING new.id
