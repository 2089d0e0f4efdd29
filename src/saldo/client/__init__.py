"""The client library for services and scripts that call Saldo. From the rest of Saldo it imports `saldo.version`
only.

Each operation is described once, without I/O (`endpoints`, `retry`, `batch`, `event_stream`). `asynchronous` executes
these descriptions with httpx and asyncio, and `synchronous` is generated from it. `proof` is a program of its own that
needs only the standard library.

Names are imported when they are first used, so that `python -m saldo.client.proof` needs no other package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saldo.client.asynchronous.client import AsyncClient
    from saldo.client.asynchronous.events import AsyncEvents
    from saldo.client.asynchronous.pagination import AsyncPages
    from saldo.client.asynchronous.writer import AsyncWriter
    from saldo.client.endpoints import UNSET
    from saldo.client.errors import (
        BalanceAboveMaximumError,
        ConflictError,
        ForbiddenError,
        InsufficientFundsError,
        InvalidError,
        NameTakenError,
        NotFoundError,
        OutcomeUnknownError,
        PositionGoneError,
        RateLimitedError,
        RefusedError,
        SaldoError,
        UnauthenticatedError,
        UnavailableError,
        UnexpectedResponseError,
        UuidConflictError,
    )
    from saldo.client.models import (
        Balance,
        Delivery,
        Event,
        FieldFault,
        Key,
        Page,
        Posted,
        Proof,
        ProvenEntry,
        Seal,
        Seals,
        Transaction,
        TransactionData,
        TransactionLog,
        User,
        UserData,
        Webhook,
    )
    from saldo.client.payloads import Deposit, Withdrawal
    from saldo.client.proof import InvalidProofError
    from saldo.client.retry import Retries
    from saldo.client.synchronous.client import Client
    from saldo.client.synchronous.events import Events
    from saldo.client.synchronous.pagination import Pages
    from saldo.client.synchronous.writer import Writer

__all__ = [
    "UNSET",
    "AsyncClient",
    "AsyncEvents",
    "AsyncPages",
    "AsyncWriter",
    "Balance",
    "BalanceAboveMaximumError",
    "Client",
    "ConflictError",
    "Delivery",
    "Deposit",
    "Event",
    "Events",
    "FieldFault",
    "ForbiddenError",
    "InsufficientFundsError",
    "InvalidError",
    "InvalidProofError",
    "Key",
    "NameTakenError",
    "NotFoundError",
    "OutcomeUnknownError",
    "Page",
    "Pages",
    "PositionGoneError",
    "Posted",
    "Proof",
    "ProvenEntry",
    "RateLimitedError",
    "RefusedError",
    "Retries",
    "SaldoError",
    "Seal",
    "Seals",
    "Transaction",
    "TransactionData",
    "TransactionLog",
    "UnauthenticatedError",
    "UnavailableError",
    "UnexpectedResponseError",
    "User",
    "UserData",
    "UuidConflictError",
    "Webhook",
    "Withdrawal",
    "Writer",
]

_MODULES = (
    "errors",
    "models",
    "proof",
    "payloads",
    "endpoints",
    "retry",
    *(
        f"{side}.{module}"
        for side in ("synchronous", "asynchronous")
        for module in ("client", "pagination", "events", "writer")
    ),
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f"saldo.client.{module}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
