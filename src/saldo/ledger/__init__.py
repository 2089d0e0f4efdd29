"""The vocabulary and the rules of the ledger, pure.

What must live here: what an amount, a timestamp, a transaction, an entry and an outcome are, and
the rules by which one follows from the other. What must not: I/O, a clock, settings, a framework,
an event loop. Time and ids come in as arguments.
"""
