"""Audits of the log, which check it by the rules of `saldo.ledger.audit` and store their progress."""
