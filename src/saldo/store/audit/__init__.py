"""Audits of the log. They check the log against the rules of `saldo.ledger.audit`, and store their progress."""
