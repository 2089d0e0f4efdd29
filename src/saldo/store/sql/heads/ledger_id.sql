-- Return the id of the ledger, and the file of its newest published head; null if none was published.
SELECT ledger_id, CASE WHEN is_published THEN document END AS document FROM saldo.head_publication
