-- From when to when the user's entries were recorded.
SELECT min(recorded_at), max(recorded_at) FROM saldo.transactions WHERE user_id = %s AND kind <> 0
