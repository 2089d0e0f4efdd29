"""Background tasks of the ledger, which one process at a time executes: seals, totals and the audit."""
