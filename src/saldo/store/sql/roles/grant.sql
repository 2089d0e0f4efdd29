-- Grant the service its rights: to read everything, append to the log, create users, relay the log, and manage webhooks
-- and keys. It has no right to alter or delete history.
-- The driver quotes {role} (psycopg.sql.Identifier).
GRANT USAGE ON SCHEMA saldo TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA saldo TO {role};
GRANT INSERT ON saldo.transactions, saldo.users TO {role};
-- The service may not change the rules of the ledger.
GRANT UPDATE (known_until) ON saldo.ledger TO {role};
GRANT INSERT, UPDATE ON saldo.sinks, saldo.cursors TO {role};
GRANT UPDATE ON saldo.totals, saldo.audit TO {role};
GRANT INSERT, UPDATE ON saldo.audit_faults TO {role};
GRANT INSERT ON saldo.notices, saldo.seals TO {role};
-- The signature protects the newest head, and the service may not change the id of the ledger.
GRANT UPDATE (number, document, is_published, published_at, holder, lease_until) ON saldo.head_publication TO {role};
GRANT INSERT, UPDATE, DELETE ON saldo.webhooks, saldo.webhook_deliveries TO {role};
-- Deleting a webhook deletes its sink.
GRANT DELETE ON saldo.sinks TO {role};
GRANT INSERT, UPDATE ON saldo.keys TO {role};
GRANT UPDATE ON saldo.keys_version TO {role};
GRANT INSERT, UPDATE, DELETE ON saldo.console_sessions TO {role};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA saldo TO {role};
