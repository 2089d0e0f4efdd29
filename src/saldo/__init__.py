"""Saldo keeps users' balances: exactly once, never negative, at any date.

`saldo.Client` and what belongs to it are those of `saldo.client`, loaded when they are used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saldo.client import (
        AsyncClient,
        BalanceAboveMaximumError,
        Client,
        ConflictError,
        Deposit,
        Fault,
        ForbiddenError,
        InsufficientFundsError,
        InvalidError,
        NameTakenError,
        NotFoundError,
        NotProvenError,
        OutcomeUnknownError,
        PositionGoneError,
        RateLimitedError,
        RefusedError,
        Retries,
        SaldoError,
        UnauthenticatedError,
        UnavailableError,
        UnexpectedAnswerError,
        UuidConflictError,
        Withdrawal,
    )

__all__ = [
    "AsyncClient",
    "BalanceAboveMaximumError",
    "Client",
    "ConflictError",
    "Deposit",
    "Fault",
    "ForbiddenError",
    "InsufficientFundsError",
    "InvalidError",
    "NameTakenError",
    "NotFoundError",
    "NotProvenError",
    "OutcomeUnknownError",
    "PositionGoneError",
    "RateLimitedError",
    "RefusedError",
    "Retries",
    "SaldoError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UuidConflictError",
    "Withdrawal",
    "__version__",
]

__version__ = version("saldo")


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("saldo.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
