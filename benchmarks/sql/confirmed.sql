SELECT coalesce(sum(seq), 0)::bigint FROM saldo.cursors
