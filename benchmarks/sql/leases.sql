SELECT count(*) FROM saldo.sinks WHERE holder IS NOT NULL
