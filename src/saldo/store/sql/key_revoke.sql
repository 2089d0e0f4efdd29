-- No more requests with it. No row: there is none of this id, or it was revoked before.
WITH changed AS (
    UPDATE saldo.keys_version SET version = version + 1
    RETURNING version
)
UPDATE saldo.keys AS k SET revoked_at = clock_timestamp()
FROM changed
WHERE k.id = $1 AND k.revoked_at IS NULL
RETURNING k.id
