"""What the checker finds: faults, each a value with a stable kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is wrong."""

    MALFORMED = "malformed"
    """Something was answered, read or delivered that can't be what it should be: nothing follows from it."""

    LOST = "lost"
    """A transaction was acknowledged, or read, and isn't there."""
    DOUBLED = "doubled"
    """A uuid is there more than once."""
    CHANGED_OUTCOME = "changed outcome"
    """One outcome was answered, another is there."""
    CHANGED_TRANSACTION = "changed transaction"
    """The outcome is the one that was answered, but not all the rest; or nobody asked for what is there."""
    ANSWERS_DIFFER = "answers differ"
    """Two attempts of one uuid were acknowledged with different bodies."""
    UNEXPLAINED_OUTCOME = "unexplained outcome"
    """An outcome that the rules don't give."""
    TRANSACTION_OF_NOTHING = "transaction of nothing"
    """A transaction is there that no attempt can have brought about."""
    NOT_LINEARIZABLE = "not linearizable"
    """No order of what happened to one user agrees both with the answers and with time."""

    GAP_IN_NUMBERS = "gap in numbers"
    WRONG_BALANCE = "wrong balance"
    """A balance isn't the sum of what was posted."""
    NEGATIVE_BALANCE = "negative balance"
    RECORDED_EARLIER = "recorded earlier"
    """A later number was recorded at an earlier time."""

    EVENT_MISSING = "event missing"
    EVENT_OUT_OF_ORDER = "event out of order"
    EVENT_REPEATED_DIFFERENTLY = "event repeated differently"
    EVENT_DIFFERS = "event differs"
    """An event doesn't say what is in the log."""
    EVENT_OF_NOTHING = "event of nothing"
    """An event of a transaction that isn't in the log."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        user_id: whose; None: nobody's, or not known.
        message: a sentence with what a person needs to look: uuid, number, times of the operations.
    """

    kind: Kind
    user_id: int | None
    message: str

    def __str__(self) -> str:
        whose = "" if self.user_id is None else f"user {self.user_id}: "
        return f"{self.kind}: {whose}{self.message}"


class MalformedError(Exception):
    """What was answered, read or delivered can't be read. The message says what is wrong with it."""
