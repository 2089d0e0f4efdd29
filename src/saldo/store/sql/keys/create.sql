-- Create a key. Returns no row if $7 keys are valid already.
WITH changed AS (
    UPDATE saldo.keys_version SET version = version + 1
    WHERE (
        SELECT count(*) FROM saldo.keys AS k
        WHERE k.revoked_at IS NULL AND coalesce(k.expires_at > clock_timestamp(), true)
    ) < $7::bigint
    RETURNING version
)
INSERT INTO saldo.keys (name, hash, scopes, user_ids, networks, expires_at)
SELECT $1, $2, $3::text[], $4::bigint[], $5::text[]::cidr[], $6 FROM changed
RETURNING id
