"""Encoding of values for clients, and parsing of URLs."""
