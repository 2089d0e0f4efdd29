"""Saldo keeps users' balances: exactly once, never negative, at any date."""

from importlib.metadata import version

__version__ = version("saldo")
