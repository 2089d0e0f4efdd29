"""Background tasks of the ledger: seals, totals and the audit. Several processes may run them, without doing any work
twice."""
