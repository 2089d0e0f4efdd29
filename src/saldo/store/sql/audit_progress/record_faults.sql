-- Record faults until there are $10 in all, and return them with the number of times that each was found (1: new).
-- A fault whose values differ from the recorded ones is no longer acknowledged.
INSERT INTO saldo.audit_faults AS f (rule, shard, seq, last_seq, found, expected, uuid, user_id, number)
SELECT new.*
FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::uuid[], $8::bigint[], $9::bigint[])
    WITH ORDINALITY AS given (rule, shard, seq, last_seq, found, expected, uuid, user_id, number, place)
CROSS JOIN LATERAL (
    SELECT given.rule, given.shard, given.seq, given.last_seq, given.found, given.expected,
        given.uuid, given.user_id, given.number
) AS new
WHERE (SELECT count(*) FROM saldo.audit_faults) + given.place <= $10 OR EXISTS (
    SELECT FROM saldo.audit_faults AS known
    WHERE known.shard = new.shard AND known.seq = new.seq AND known.rule = new.rule
        AND known.user_id IS NOT DISTINCT FROM new.user_id
)
ON CONFLICT ON CONSTRAINT audit_faults_once DO UPDATE
SET last_found_at = clock_timestamp(), times_found = f.times_found + 1,
    last_seq = excluded.last_seq, found = excluded.found, expected = excluded.expected,
    acknowledged_at = CASE WHEN (f.found, f.expected) = (excluded.found, excluded.expected) THEN f.acknowledged_at END
RETURNING f.shard, f.seq, f.rule, f.times_found
