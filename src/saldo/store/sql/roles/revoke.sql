-- Revoke all rights, including those granted by hand. The rights that the service needs are granted afterwards, in the
-- same transaction.
REVOKE ALL ON SCHEMA saldo FROM {role};
REVOKE ALL ON ALL TABLES IN SCHEMA saldo FROM {role};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA saldo FROM {role};
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA saldo FROM {role};
