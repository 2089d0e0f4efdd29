"""What a call can raise.

SaldoError
├── RefusedError                    decided and final: another attempt needs a new uuid
│   ├── InsufficientFundsError
│   └── BalanceAboveMaximumError
├── InvalidError                    the request is wrong; `faults` names every field
├── ConflictError                   it clashes with what there is
│   ├── UuidConflictError           the uuid stands for another transaction
│   └── NameTakenError              another user, or this one already, has the name
├── NotFoundError
├── PositionGoneError               the log does not have the place to resume events from
├── UnauthenticatedError            no key, or one that is not valid
├── ForbiddenError                  the key does not open this
├── UnavailableError                attempts are used up; nothing was done
│   ├── RateLimitedError
│   └── OutcomeUnknownError         attempts are used up; it may have been done: go on with the same uuid
└── UnexpectedAnswerError           a fault of the service, or an answer that is not Saldo's
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from saldo.client.models import Problem, Transaction


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request; `field` as the API calls it."""

    field: str
    message: str


class SaldoError(Exception):
    """The base of all. The message is for people; decide by the class, or by `code`.

    Attributes:
        code: the stable code of docs/reference/errors.md; None: there was no answer of Saldo.
        status: of the HTTP answer; None: there was none.
        request_id: to be named where a fault is reported.
        uuid: the transaction's, if it is about one.
        item: in `post_atomic`, the place of the transaction that can't be posted, from 0.
        retry_after_seconds: how long the service asks to wait, if it does.
        details: all members of the problem, as JSON has them.
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
        """What a class has beside."""


class RefusedError(SaldoError):
    """The ledger has decided against it, for ever: under this uuid the answer stays the same.

    Attributes:
        balance: the user's then. needed: the amount. Both None for an item of `post_atomic`, of which
            nothing was recorded.
        transaction: as it is recorded; None for one of many.
    """

    balance: Decimal | None = None
    needed: Decimal | None = None
    transaction: Transaction | None = None

    def _read(self, problem: Problem | None) -> None:
        if problem is not None:
            self.balance, self.needed = problem.balance, problem.needed
            self.transaction = problem.transaction


class InsufficientFundsError(RefusedError):
    """The balance doesn't cover the withdrawal, at its timestamp or later."""


class BalanceAboveMaximumError(RefusedError):
    """The deposit would lift the balance above the most that the service allows."""


class InvalidError(SaldoError):
    """The request is wrong. Nothing was recorded.

    Attributes:
        faults: each field that is at fault, all at once.
    """

    faults: tuple[Fault, ...] = ()

    def _read(self, problem: Problem | None) -> None:
        if problem is not None:
            self.faults = tuple(Fault(each.field, each.message) for each in problem.errors)


class ConflictError(SaldoError):
    """It clashes with what there is."""


class UuidConflictError(ConflictError):
    """The uuid stands for a transaction with other content. Nothing was recorded.

    Attributes:
        differing_fields: what differs.
        recorded: the recorded values of those, as the API writes them, if the key may read them.
    """

    differing_fields: tuple[str, ...] = ()
    recorded: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed

    def _read(self, problem: Problem | None) -> None:
        if problem is not None:
            self.differing_fields = problem.differing_fields
            self.recorded = problem.recorded


class NameTakenError(ConflictError):
    """A user with this name is there.

    Attributes:
        user_id: whose it is.
        perhaps_ours: an answer of an earlier attempt was lost, so this call may have made the user. That can't be
            told: use the user if your names are your own, or another name.
    """

    user_id: int = 0
    perhaps_ours: bool = False

    def _read(self, problem: Problem | None) -> None:
        if problem is not None and problem.user_id is not None:
            self.user_id = problem.user_id


class NotFoundError(SaldoError):
    """There is no such user, transaction, webhook, key …; `code` says which."""


class PositionGoneError(SaldoError):
    """Events can't be resumed there: the database was restored or has failed over. Begin with a time a little before
    the last event you have; what comes again has the id it had."""


class UnauthenticatedError(SaldoError):
    """No key was sent, or one that is not known, has expired or was revoked."""


class ForbiddenError(SaldoError):
    """The key lacks the scope, is not about this user, or must not be used from here."""


class UnavailableError(SaldoError):
    """The service could not be reached, or could not do it now, until the time was up. Nothing was done."""


class RateLimitedError(UnavailableError):
    """The key has made too many requests; `retry_after_seconds` says how long to wait."""


class OutcomeUnknownError(UnavailableError):
    """The time was up, and whether it was done is not known.

    A transaction: call again with the same `uuid`, in a minute or tomorrow. That decides, and it is one effect.
    """


class UnexpectedAnswerError(SaldoError):
    """A fault of the service (`request_id` says of which request), or an answer that is not Saldo's: a proxy's."""
