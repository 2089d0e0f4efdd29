"""Group commit: waiting requests are combined into batches, with one batch in flight per lane.

This package contains lanes, batches, deadlines, backpressure and the handling of failed batches. It contains neither
the rules of the ledger (`saldo.ledger`, decided in SQL) nor HTTP.
"""
