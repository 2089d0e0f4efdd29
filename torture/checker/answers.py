"""Classification of the answers to posted transactions: a recorded outcome, nothing recorded, or unknown."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from torture.checker.entry import (
    BALANCE_ABOVE_MAXIMUM,
    INSUFFICIENT_FUNDS,
    POSTED,
    Entry,
    read_entry,
    read_integer,
    read_money,
    to_moment,
    to_money,
)
from torture.checker.fault import MalformedError
from torture.history import Operation, Post

UNRECORDED_REFUSAL_CODES: Final = frozenset(
    {"user_not_found", "timestamp_in_future", "timestamp_too_late", "late_check_too_long"}
)
"""Codes of refusals that are not recorded. The ledger never returns them for a uuid that is recorded."""


class Unrecorded(Enum):
    """An answer that is not a recorded outcome."""

    NOTHING = "nothing"
    """This attempt recorded nothing, and never will."""
    UNKNOWN = "unknown"
    """The attempt may have taken effect, or may still do so."""


class Recorded(NamedTuple):
    """An outcome that was acknowledged.

    Attributes:
        entry: the whole transaction; None if the answer was a line of a bulk request, which has fewer fields.
    """

    outcome: str
    number: int
    balance: Decimal
    replayed: bool
    entry: Entry | None


Verdict: TypeAlias = Recorded | Unrecorded


def classify_answer(operation: Operation) -> Verdict:
    """Classify the answer to a `Post`.

    Raises:
        MalformedError: the answer is not a possible answer to a POST of a transaction.
    """
    status, body = operation.status, operation.body or {}
    if operation.answered is None or status is None or status >= 500:
        return Unrecorded.UNKNOWN
    if status == 200:
        return _parse_recorded(operation, POSTED, body)
    if status == 402:
        return _parse_recorded(operation, INSUFFICIENT_FUNDS, body)
    if status == 409 and body.get("code") == BALANCE_ABOVE_MAXIMUM:
        return _parse_recorded(operation, BALANCE_ABOVE_MAXIMUM, body)
    if 400 <= status < 500:
        return Unrecorded.NOTHING
    raise MalformedError(f"nothing is known of status {status}")


def _parse_recorded(operation: Operation, outcome: str, body: Mapping[str, Any]) -> Recorded:
    replayed = operation.replayed or body.get("replayed") is True
    if "line" in body:
        if body.get("code") != outcome:
            raise MalformedError(f"status {operation.status} with the code {body.get('code')!r}")
        number, balance = read_integer(body, "number"), read_money(body, "balance")
        return Recorded(outcome, number, balance, replayed, None)
    transaction = body
    if outcome != POSTED:
        transaction = body.get("transaction") or {}
        if body.get("code") != outcome:
            raise MalformedError(f"status {operation.status} with the code {body.get('code')!r}")
    entry = read_entry(transaction)
    if entry.outcome != outcome:
        raise MalformedError(f"status {operation.status} with the outcome {entry.outcome!r}")
    if outcome != POSTED and read_money(body, "balance") != entry.balance:
        raise MalformedError("the balance of the problem is not that of its transaction")
    return Recorded(outcome, entry.number, entry.balance, replayed, entry)


def matches_request(post: Post, entry: Entry) -> bool:
    """Return whether an entry has the content that was sent.

    If the timestamp was left out, any timestamp of the entry matches. The same is true for a timestamp without an
    offset, because it is in the service's time zone, which the checker doesn't know.
    """
    if post.user_id != entry.user_id or post.type != entry.type:
        return False
    try:
        if to_money(post.amount) != entry.amount:
            return False
    except MalformedError:  # The client has sent an invalid amount on purpose.
        return False
    sent = None if post.timestamp is None else to_moment(post.timestamp)
    return sent is None or sent.tzinfo is None or sent == entry.timestamp


def find_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Return the first field in which two acknowledgements of one uuid differ, or None if they are the same.

    Two answers of the same kind must be equal. A POST and a line of a bulk request must agree in the fields that both
    have.
    """
    names = one.keys() & other.keys()
    if ("line" in one) is ("line" in other):
        names = one.keys() | other.keys()
    for name in sorted(names - _PER_ATTEMPT_FIELDS):
        if one.get(name) != other.get(name):
            return name
    return None


_PER_ATTEMPT_FIELDS: Final = frozenset({"line", "replayed"})
