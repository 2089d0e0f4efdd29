"""Background tasks of the ledger: seals, totals and the audit. Several processes may run these tasks at the same
time."""
