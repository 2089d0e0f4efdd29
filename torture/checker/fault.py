"""The findings of the checker: faults, each a value with a stable kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """A kind of fault."""

    MALFORMED = "malformed"
    """An answer, a read or a delivery is malformed, so that nothing can be concluded from it."""

    LOST = "lost"
    """A transaction was acknowledged or read, and is not in the final log."""
    DOUBLED = "doubled"
    """A uuid is in the final log more than once."""
    CHANGED_OUTCOME = "changed outcome"
    """The recorded outcome is not the one that was acknowledged."""
    CHANGED_TRANSACTION = "changed transaction"
    """The recorded transaction has the acknowledged outcome but other content, or no client ever sent it."""
    ANSWERS_DIFFER = "answers differ"
    """Two attempts of one uuid were acknowledged with different bodies."""
    UNEXPLAINED_OUTCOME = "unexplained outcome"
    """The rules of the ledger can't produce this outcome."""
    TRANSACTION_OF_NOTHING = "transaction of nothing"
    """The final log has a transaction that none of the attempts can have caused."""
    NOT_LINEARIZABLE = "not linearizable"
    """No order of one user's operations agrees both with the answers and with time."""

    GAP_IN_NUMBERS = "gap in numbers"
    WRONG_BALANCE = "wrong balance"
    """A balance is not the sum of the posted transactions."""
    NEGATIVE_BALANCE = "negative balance"
    RECORDED_EARLIER = "recorded earlier"
    """An entry was recorded at an earlier time than the entry with the number before it."""

    EVENT_MISSING = "event missing"
    EVENT_OUT_OF_ORDER = "event out of order"
    EVENT_REPEATED_DIFFERENTLY = "event repeated differently"
    EVENT_DIFFERS = "event differs"
    """The content of an event differs from the log."""
    EVENT_OF_NOTHING = "event of nothing"
    """An event refers to a transaction that is not in the log."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        user_id: the user to whom the fault belongs; None if there is no such user, or if the user is not known.
        message: a sentence with all that is needed to investigate: uuid, number, times of the operations.
    """

    kind: FindingKind
    user_id: int | None
    message: str

    def __str__(self) -> str:
        whose = "" if self.user_id is None else f"user {self.user_id}: "
        return f"{self.kind}: {whose}{self.message}"


class MalformedError(Exception):
    """An answer, a read or a delivery can't be parsed. The message gives the reason."""
