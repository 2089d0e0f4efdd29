-- Return the entry with the uuid $1, its seal, and the leaf hashes of all entries of the seal, at most 1024
-- (seals_positions). The seal's columns are null if the entry is not sealed yet. Times that are -infinity become null.
-- A leaf is a hash over a tuple of binary COPY. This repeats saldo.ledger.seals.encode_entry in SQL.
SELECT t.shard, t.seq, t.user_id, t.number, t.uuid, t.kind, t.outcome, t.amount, t.balance,
    nullif(t."timestamp", '-infinity') AS "timestamp", nullif(t.horizon, '-infinity') AS horizon, t.recorded_at,
    s.first_seq, s.last_seq, before.hash AS previous, s.root, s.hash, s.sealed_at,
    ARRAY(
        SELECT sha256('\x00'::bytea || int2send(12::smallint)
            || int4send(8) || int8send(e.seq) || int4send(8) || int8send(e.user_id) || int4send(8) || int8send(e.number)
            || int4send(8) || int8send(e.amount) || int4send(8) || int8send(e.balance)
            || int4send(8) || timestamptz_send(e."timestamp") || int4send(8) || timestamptz_send(e.horizon)
            || int4send(8) || timestamptz_send(e.recorded_at) || int4send(16) || uuid_send(e.uuid)
            || int4send(2) || int2send(e.shard) || int4send(2) || int2send(e.kind) || int4send(2) || int2send(e.outcome))
        FROM saldo.transactions AS e
        WHERE e.shard = t.shard AND e.seq BETWEEN s.first_seq AND s.last_seq
        ORDER BY e.seq
    ) AS leaves
FROM saldo.transactions AS t
LEFT JOIN LATERAL (
    SELECT * FROM saldo.seals AS s WHERE s.shard = t.shard AND s.first_seq <= t.seq ORDER BY s.first_seq DESC LIMIT 1
) AS s ON s.last_seq >= t.seq
LEFT JOIN LATERAL (
    SELECT b.hash FROM saldo.seals AS b
    WHERE b.shard = s.shard AND b.first_seq < s.first_seq ORDER BY b.first_seq DESC LIMIT 1
) AS before ON true
WHERE t.uuid = $1
