"""Saldo keeps users' balances: each transaction counts exactly once, and no balance is negative at any date.

The client's public names (`saldo.Client` and the others in `__all__`) come from `saldo.client`, which is imported at
their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from saldo.version import VERSION

if TYPE_CHECKING:
    from saldo.client import (
        AsyncClient,
        BalanceAboveMaximumError,
        Client,
        ConflictError,
        Deposit,
        FieldFault,
        ForbiddenError,
        InsufficientFundsError,
        InvalidError,
        InvalidProofError,
        NameTakenError,
        NotFoundError,
        OutcomeUnknownError,
        PositionGoneError,
        RateLimitedError,
        RefusedError,
        Retries,
        SaldoError,
        UnauthenticatedError,
        UnavailableError,
        UnexpectedResponseError,
        UuidConflictError,
        Withdrawal,
    )

__all__ = [
    "AsyncClient",
    "BalanceAboveMaximumError",
    "Client",
    "ConflictError",
    "Deposit",
    "FieldFault",
    "ForbiddenError",
    "InsufficientFundsError",
    "InvalidError",
    "InvalidProofError",
    "NameTakenError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PositionGoneError",
    "RateLimitedError",
    "RefusedError",
    "Retries",
    "SaldoError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnexpectedResponseError",
    "UuidConflictError",
    "Withdrawal",
    "__version__",
]

__version__ = VERSION


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("saldo.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
