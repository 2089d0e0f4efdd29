"""The vocabulary and the rules of the ledger, without I/O.

This package defines amounts, timestamps, transactions, entries and outcomes, and the rules that connect them. It
contains no I/O, clock, settings, framework or event loop. Times and ids are passed as arguments.
"""
