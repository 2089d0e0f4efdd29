-- Record that the head with the number $1 and the file $2 is published, and release the lease of $3.
UPDATE saldo.head_publication
SET is_published = true, published_at = clock_timestamp(),
    lease_until = CASE WHEN holder = $3 THEN '-infinity' ELSE lease_until END
WHERE number = $1 AND document = $2
RETURNING number
