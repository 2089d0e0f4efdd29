"""The rules of the audit, for entries, for the chain of seals, and for balances over time."""
