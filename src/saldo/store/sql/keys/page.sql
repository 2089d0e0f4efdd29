-- Return keys with ids above $1; if $2 is not null, only the key with this id.
SELECT k.id, k.name, k.scopes, k.user_ids, k.networks::text[], k.created_at, k.expires_at, k.revoked_at, k.replaced_by,
    k.revoked_at IS NULL AND coalesce(k.expires_at > clock_timestamp(), true) AS valid
FROM saldo.keys AS k
WHERE k.id > $1 AND ($2::bigint IS NULL OR k.id = $2)
ORDER BY k.id
LIMIT $3
