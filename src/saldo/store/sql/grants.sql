-- What the service may do: read everything, append to the log, create users, relay the log, keep subscriptions.
-- Not alter history, not delete of it.
-- {role} is quoted by the driver (psycopg.sql.Identifier).
GRANT USAGE ON SCHEMA saldo TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA saldo TO {role};
GRANT INSERT ON saldo.transactions, saldo.users TO {role};
GRANT INSERT, UPDATE ON saldo.sinks, saldo.cursors TO {role};
GRANT UPDATE ON saldo.totals, saldo.audit TO {role};
GRANT INSERT, UPDATE ON saldo.audit_faults TO {role};
GRANT INSERT ON saldo.notices, saldo.seals TO {role};
GRANT INSERT, UPDATE, DELETE ON saldo.webhooks, saldo.webhook_deliveries TO {role};
-- Of a webhook that is deleted.
GRANT DELETE ON saldo.sinks TO {role};
GRANT INSERT, UPDATE ON saldo.keys TO {role};
GRANT UPDATE ON saldo.keys_version TO {role};
GRANT INSERT, UPDATE, DELETE ON saldo.console_sessions TO {role};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA saldo TO {role};
