"""Per user: is there one order of all that happened which agrees with the answers and with time?

The final log of a user, in the order of numbers, is the sequence of writes. The state is how many of its entries
are there. Two things are asked of linearizability.py, one user at a time, for users are independent objects:

- A *write* of each number takes effect when exactly the ones before it have. It begins when the first attempt that
  can have brought it about was sent, and has no return: an attempt without an answer may take effect long after it
  was given up.
- Every answer is an *observation*. An acknowledged attempt says that its entry is there, whichever attempt it was
  that took effect; a list says how many there are; a balance, that those that are there give it.

This is the same as letting each attempt take effect, or find that another has. Take any order: put the write where
the attempt that took effect was, and each acknowledged attempt's observation after it. And back: a write stands
after the first sending and before every answer of an acknowledged attempt, so it stands within the attempt that
was sent first of those that can have brought it about; let that one take effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from math import inf
from typing import NamedTuple, TypeAlias, assert_never

from torture.checker.entry import ZERO, Account, Entry
from torture.checker.fault import Fault, Kind
from torture.checker.final import FinalRead
from torture.checker.linearizability import Interval, Violation, find_violation
from torture.checker.log import has_gap
from torture.checker.observations import Between, Observations, Observed, Saw, describe
from torture.checker.outcomes import candidates
from torture.checker.timeline import Timeline


class Write(NamedTuple):
    """The entry with this number is recorded."""

    number: int


Action: TypeAlias = Write | Observed


class LogModel:
    """A log of which more and more is there: the state is how many entries are."""

    initial = 0

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def step(self, state: int, action: Action) -> tuple[int, ...]:
        """The count after the action, or nothing when it can't have been answered so at this count."""
        if isinstance(action, Write):
            return (state + 1,) if action.number == state + 1 else ()
        match observation := action.observation:
            case Between(low, high):
                legal = low <= state and (high is None or state <= high)
            case Saw(balance, date):
                legal = balance == self._balance(state, date)
            case _:
                assert_never(observation)
        return (state,) if legal else ()

    def observes(self, action: Action) -> bool:
        """Whether it writes nothing."""
        return not isinstance(action, Write)

    def _balance(self, count: int, date: datetime | None) -> Decimal:
        if date is not None:
            return self._timeline.balance(count, date)
        return self._entries[count - 1].balance if count else ZERO

    @cached_property
    def _timeline(self) -> Timeline:
        return Timeline(self._entries)


def check_order(observations: Observations, final: FinalRead) -> Iterator[Fault]:
    """One fault for each user whose history has no order. A log with a gap has none to begin with: passed over."""
    for account in final.accounts.values():
        if has_gap(account):
            continue
        intervals = [*_writes(account, observations), *_observations(account, observations)]
        violation = find_violation(LogModel(account.entries), intervals)
        if violation is not None:
            yield Fault(Kind.NOT_LINEARIZABLE, account.user_id, _explain(violation))


def _writes(account: Account, observations: Observations) -> Iterator[Interval[Action]]:
    for entry in account.entries:
        sent = candidates(observations.attempts.get(entry.uuid, []), entry)
        # What nobody can have brought about is a fault of its own, and bound to no time.
        invoked = min((operation.invoked for operation in sent), default=-inf)
        yield Interval(Write(entry.number), invoked, None)


def _observations(account: Account, observations: Observations) -> Iterator[Interval[Action]]:
    for observed in observations.of_user.get(account.user_id, []):
        operation = observed.operation
        yield Interval(observed, operation.invoked, operation.answered)


def _explain(violation: Violation[int, Action]) -> str:
    action = violation.interval.action
    assert isinstance(action, Observed)  # A write has no return.
    counts = " or ".join(map(str, sorted(violation.states)))
    return (
        f"{describe(action.operation)}: it says {_say(action)}, "
        f"and before it returned the log had come to {counts} entries at least"
    )


def _say(action: Observed) -> str:
    match observation := action.observation:
        case Between(low, None):
            return f"that number {low} was there"
        case Between(low, high):
            return f"that there were from {low} to {high} entries"
        case Saw(balance, date):
            return f"that the balance{'' if date is None else f' at {date}'} was {balance}"
        case _:
            assert_never(observation)
