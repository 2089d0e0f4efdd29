"""Check per user that one order of all operations agrees with the answers and with time.

The final log of a user, in the order of numbers, is the sequence of writes. The state is how many of its entries
exist. The check in linearizability.py runs for one user at a time, because users are independent objects. Its history
consists of two kinds of operations:

- A *write* of each number takes effect when exactly the writes before it have. It begins when the first attempt that
  can have caused it was sent, and it has no return: an attempt without an answer may take effect long after the client
  has stopped waiting.
- Every answer is an *observation*. An acknowledged attempt shows that its entry exists, whichever attempt took
  effect; a list shows how many entries there are; a balance shows what the existing entries sum up to.

This is equivalent to letting each attempt either take effect or find that another one has. Take any order of the
attempts: put the write where the attempt that took effect was, and each acknowledged attempt's observation after it.
Conversely, take any order that includes the write. The write stands after the first sending, and before every answer of
an acknowledged attempt. It therefore lies within the interval of the first attempt that can have caused it. Let that
attempt take effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from math import inf
from typing import NamedTuple, TypeAlias, assert_never

from torture.checker.entry import ZERO, Account, Entry
from torture.checker.fault import Finding, FindingKind
from torture.checker.final import FinalRead
from torture.checker.linearizability import Interval, Violation, find_violation
from torture.checker.log import has_gap
from torture.checker.observations import (
    EntryCountRange,
    LocatedObservation,
    Observations,
    ObservedBalance,
    describe,
)
from torture.checker.outcomes import candidates
from torture.checker.timeline import Timeline


class Write(NamedTuple):
    """The action of recording the entry with this number."""

    number: int


Action: TypeAlias = Write | LocatedObservation


class LogModel:
    """A model of a log that grows; its state is the number of entries."""

    initial = 0

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def step(self, state: int, action: Action) -> tuple[int, ...]:
        """Return the count after the action. Return nothing if the call can't have had this answer at this count."""
        if isinstance(action, Write):
            return (state + 1,) if action.number == state + 1 else ()
        match observation := action.observation:
            case EntryCountRange(low, high):
                legal = low <= state and (high is None or state <= high)
            case ObservedBalance(balance, date):
                legal = balance == self._balance(state, date)
            case _:
                assert_never(observation)
        return (state,) if legal else ()

    def observes(self, action: Action) -> bool:
        """Return whether the action is an observation, which leaves the count unchanged."""
        return not isinstance(action, Write)

    def _balance(self, count: int, date: datetime | None) -> Decimal:
        if date is not None:
            return self._timeline.balance(count, date)
        return self._entries[count - 1].balance if count else ZERO

    @cached_property
    def _timeline(self) -> Timeline:
        return Timeline(self._entries)


def check_order(observations: Observations, final: FinalRead) -> Iterator[Finding]:
    """Yield one fault for each user whose history has no order.

    A log with a gap in its numbers is skipped, because it can't have an order; the gap is reported elsewhere.
    """
    for account in final.accounts.values():
        if has_gap(account):
            continue
        intervals = [*_writes(account, observations), *_observations(account, observations)]
        violation = find_violation(LogModel(account.entries), intervals)
        if violation is not None:
            yield Finding(FindingKind.NOT_LINEARIZABLE, account.user_id, _explain(violation))


def _writes(account: Account, observations: Observations) -> Iterator[Interval[Action]]:
    for entry in account.entries:
        sent = candidates(observations.attempts.get(entry.uuid, []), entry)
        # An entry that no attempt can have caused is reported elsewhere. Here it may take effect at any time.
        invoked = min((operation.invoked for operation in sent), default=-inf)
        yield Interval(Write(entry.number), invoked, None)


def _observations(account: Account, observations: Observations) -> Iterator[Interval[Action]]:
    for observed in observations.of_user.get(account.user_id, []):
        operation = observed.operation
        yield Interval(observed, operation.invoked, operation.answered)


def _explain(violation: Violation[int, Action]) -> str:
    action = violation.interval.action
    assert isinstance(
        action, LocatedObservation
    )  # A write has no return, so it can't be the violation.
    counts = " or ".join(map(str, sorted(violation.states)))
    return (
        f"{describe(action.operation)}: it says {_describe_action(action)}, "
        f"and before it returned the log had come to {counts} entries at least"
    )


def _describe_action(action: LocatedObservation) -> str:
    match observation := action.observation:
        case EntryCountRange(low, None):
            return f"that number {low} was there"
        case EntryCountRange(low, high):
            return f"that there were from {low} to {high} entries"
        case ObservedBalance(balance, date):
            return f"that the balance{'' if date is None else f' at {date}'} was {balance}"
        case _:
            assert_never(observation)
