-- Returns the times at which the user's first and last transactions were recorded.
SELECT min(recorded_at), max(recorded_at) FROM saldo.transactions WHERE user_id = %s AND kind <> 0
