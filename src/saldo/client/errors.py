"""Exceptions that the client raises.

SaldoError
├── RefusedError                    the decision is final: another attempt needs a new uuid
│   ├── InsufficientFundsError
│   └── BalanceAboveMaximumError
├── InvalidError                    the request is invalid; `faults` names every field
├── ConflictError                   the request conflicts with existing data
│   ├── UuidConflictError           the uuid belongs to another transaction
│   └── NameTakenError              a user with this name exists, perhaps created by this call
├── NotFoundError
├── PositionGoneError               the log does not have the position to resume events from
├── UnauthenticatedError            the key is missing or invalid
├── ForbiddenError                  the key does not permit the request
├── UnavailableError                all attempts failed, and nothing was done
│   └── RateLimitedError
├── OutcomeUnknownError             the request may have been executed, or may still be: repeat it with the same uuid
└── UnexpectedResponseError           a fault of the service, or a response that is not Saldo's
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from saldo.client.models import FieldFault, Problem, Transaction


class SaldoError(Exception):
    """The base class of all errors. The message is for people; programs should use the class or `code`.

    Attributes:
        code: The stable code from docs/reference/errors.md; None if there was no response from Saldo.
        status: The status of the HTTP response; None if there was none.
        request_id: The id of the request, to be quoted when a fault is reported.
        uuid: The uuid of the transaction, if the error belongs to one.
        item: In `post_atomic`, the index of the transaction that can't be posted, from 0.
        retry_after_seconds: The time to wait, if the service asks for one.
        details: All members of the problem, as decoded from JSON.
    """

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.code: str | None = None if problem is None else problem.code
        self.status: int | None = None if problem is None else problem.status
        self.request_id: str | None = None if problem is None else problem.request_id
        self.uuid: UUID | None = None if problem is None else problem.uuid
        self.item: int | None = None if problem is None else problem.item
        self.retry_after_seconds: float | None = None
        self.details: dict[str, Any] = {}
        self._read(problem)

    def _read(self, problem: Problem | None) -> None:
        """Read the members of the problem that only this class has."""


class RefusedError(SaldoError):
    """The ledger has refused the transaction. The refusal is final for this uuid.

    Attributes:
        balance: The user's balance at the time of the decision; None for `post_atomic`, which records nothing if a
            transaction is refused.
        needed: The amount of the transaction; None for `post_atomic`.
        transaction: The transaction as it is recorded; None for an item of a bulk request.
    """

    balance: Decimal | None = None
    needed: Decimal | None = None
    transaction: Transaction | None = None

    def _read(self, problem: Problem | None) -> None:
        if problem is not None:
            self.balance, self.needed = problem.balance, problem.needed
            self.transaction = problem.transaction


class InsufficientFundsError(RefusedError):
    """The balance does not cover the withdrawal, either at its timestamp or at a later time."""


class BalanceAboveMaximumError(RefusedError):
    """The deposit would raise the balance above the maximum that the service allows."""


class InvalidError(SaldoError):
    """The request is invalid. Nothing was recorded.

    Attributes:
        faults: Every invalid field.
    """

    faults: tuple[FieldFault, ...] = ()

    def _read(self, problem: Problem | None) -> None:
        if problem is not None:
            self.faults = problem.errors


class ConflictError(SaldoError):
    """The request conflicts with existing data."""


class UuidConflictError(ConflictError):
    """The uuid belongs to a transaction with other content. Nothing was recorded.

    Attributes:
        differing_fields: The names of the fields that differ.
        recorded: The recorded values of these fields, as the API writes them, if the key may read them.
    """

    differing_fields: tuple[str, ...] = ()
    recorded: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed

    def _read(self, problem: Problem | None) -> None:
        if problem is not None:
            self.differing_fields = problem.differing_fields
            self.recorded = problem.recorded


class NameTakenError(ConflictError):
    """A user with this name exists.

    Attributes:
        user_id: The id of that user.
        perhaps_ours: True if the response of an earlier attempt was lost, so that this call may have created the user.
            The client can't find out whether it did. If nobody else chooses such names, use the existing user.
            Otherwise choose another name.
    """

    user_id: int = 0
    perhaps_ours: bool = False

    def _read(self, problem: Problem | None) -> None:
        if problem is not None and problem.user_id is not None:
            self.user_id = problem.user_id


class NotFoundError(SaldoError):
    """There is no such user, transaction, webhook, key …; `code` names the kind."""


class PositionGoneError(SaldoError):
    """Events can't be resumed at this position, because the database was restored or has failed over.

    Start with a time shortly before the last event that was received. Events that are repeated have the same id as
    before.
    """


class UnauthenticatedError(SaldoError):
    """The request had no key, or its key is unknown, expired or revoked."""


class ForbiddenError(SaldoError):
    """The key lacks the scope, is not valid for this user, or must not be used from this network."""


class UnavailableError(SaldoError):
    """The service could not be reached or could not execute the request before the timeout. Nothing was done."""


class RateLimitedError(UnavailableError):
    """The key has sent too many requests; `retry_after_seconds` is the time to wait."""


class OutcomeUnknownError(SaldoError):
    """The outcome is unknown: an attempt was lost, and no later attempt got a recorded outcome.

    If the request posts a transaction, repeat it with the same `uuid`, a minute or a day later, until it returns or
    raises `RefusedError` or `UuidConflictError`. It has one effect, however often it is sent. This class is not a
    subclass of `UnavailableError`, because that class means that nothing was done. `code`, `status` and `details` are
    those of the last response.
    """


class UnexpectedResponseError(SaldoError):
    """A fault of the service (`request_id` names the request), or a response that is not Saldo's but a proxy's."""
