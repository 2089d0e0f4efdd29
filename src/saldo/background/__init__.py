"""Background tasks that one process at a time does beside the ledger: seals, totals and the audit."""
