"""Metrics and logs: what an operator sees. Imports nothing of Saldo."""
