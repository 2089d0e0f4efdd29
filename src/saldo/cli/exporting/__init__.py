"""Exports to files: the sources of the transactions, and the formats."""
