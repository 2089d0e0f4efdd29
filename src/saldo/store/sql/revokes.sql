-- Whatever has been granted by hand: what the service needs is granted after this, in the same transaction.
REVOKE ALL ON SCHEMA saldo FROM {role};
REVOKE ALL ON ALL TABLES IN SCHEMA saldo FROM {role};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA saldo FROM {role};
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA saldo FROM {role};
