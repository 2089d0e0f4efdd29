"""Group commit: waiting requests become batches, one batch in flight a lane.

What belongs here: lanes, batches, deadlines, backpressure, and what to do when a batch fails.
What does not: the rules (`saldo.ledger`, decided in SQL), HTTP.
"""
