-- Revoke the key $1. Returns no row if it does not exist or is revoked already.
WITH changed AS (
    UPDATE saldo.keys_version SET version = version + 1
    -- The version is increased only if there is such a key. A version above 0 means that a key has existed, so that
    -- requests must be authenticated.
    WHERE EXISTS (SELECT FROM saldo.keys AS k WHERE k.id = $1 AND k.revoked_at IS NULL)
    RETURNING version
)
UPDATE saldo.keys AS k SET revoked_at = clock_timestamp()
FROM changed
WHERE k.id = $1 AND k.revoked_at IS NULL
RETURNING k.id
