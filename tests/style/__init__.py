"""Ratchets for names, docstrings, folders and phrases: counts of faults that may only fall."""
