-- Change the rules of the ledger. lateness_bound, which reads rely on, is never less than the lateness of recorded
-- entries.
UPDATE saldo.ledger SET
    max_lateness = %(max_lateness)s,
    lateness_bound = CASE WHEN %(max_lateness)s::interval IS NULL THEN NULL ELSE greatest(
        %(max_lateness)s::interval,
        (SELECT max(t.horizon - t."timestamp") FROM saldo.transactions AS t
         WHERE t.outcome = 0 AND t."timestamp" < t.horizon)
    ) END
WHERE only_row
