"""Parsers of client input: JSON bodies, fields, query parameters.

Each fault names the field and what is expected.
"""
