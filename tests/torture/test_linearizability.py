"""The fast search compared with a search of all orders on small histories, and its cost on long ones."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import combinations, permutations
from math import inf
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torture.checker.linearizability import Interval, Model, find_violation

State = TypeVar("State", bound=Hashable)
Action = TypeVar("Action")


class Register:
    """A register that holds 0, 1 or 2. A flip changes it to 0 or 1 without returning which."""

    initial = 0

    def step(self, state: int, action: tuple[Any, ...]) -> tuple[int, ...]:
        match action:
            case ("write", value):
                return (value,)
            case ("swap", old, new):
                return (new,) if state == old else ()
            case ("flip",):
                return (0, 1)
            case ("read", value):
                return (state,) if state == value else ()
        raise AssertionError(action)

    def observes(self, action: tuple[Any, ...]) -> bool:
        return bool(action[0] == "read")


VALUES = st.integers(0, 2)
ACTIONS = st.one_of(
    st.tuples(st.just("read"), VALUES),
    st.tuples(st.just("read"), VALUES),
    st.tuples(st.just("write"), VALUES),
    st.tuples(st.just("swap"), VALUES, VALUES),
    st.just(("flip",)),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Interval[tuple[Any, ...]]]:
    intervals = []
    for action in draw(st.lists(ACTIONS, max_size=5)):
        invoked = draw(st.integers(0, 8))
        returned = draw(st.none() | st.integers(invoked, 10))
        intervals.append(Interval(action, invoked, returned))
    return intervals


def _reads_of_one(times: int) -> list[Interval[tuple[Any, ...]]]:
    """Return a history that reads 1 `times` times, each time after a write of 2.

    Only two operations that never return can write 1, each once.
    """
    history: list[Interval[tuple[Any, ...]]] = [
        Interval(("write", 1), 0, None),
        Interval(("flip",), 0, None),
    ]
    for start in range(1, 4 * times, 4):
        history.append(Interval(("write", 2), start, start + 1))
        history.append(Interval(("read", 1), start + 2, start + 3))
    return history


@given(histories())
@settings(max_examples=600, deadline=None)
@example([Interval(("read", 1), 0, 1), Interval(("write", 1), 1, None)])
@example([Interval(("flip",), 0, None), Interval(("read", 1), 1, 2), Interval(("read", 0), 3, 4)])
@example(_reads_of_one(2))
@example(_reads_of_one(3))
def test_search_finds_an_order_if_one_exists(history: list[Interval[tuple[Any, ...]]]) -> None:
    assert (find_violation(Register(), history) is None) == has_order(Register(), history)


def test_reference_search_gives_both_verdicts() -> None:
    right = [Interval(("write", 1), 0, 3), Interval(("read", 0), 1, 2), Interval(("read", 1), 2, 3)]
    wrong = [Interval(("write", 1), 0, 1), Interval(("read", 0), 2, 3)]

    assert has_order(Register(), right)
    assert not has_order(Register(), wrong)


def test_violation_names_the_return_that_no_order_explains() -> None:
    stale = Interval(("read", 0), 2, 3)
    history = [Interval(("write", 1), 0, 1), stale, Interval(("read", 2), 5, 6)]

    violation = find_violation(Register(), history)

    assert violation is not None
    assert violation.interval == stale
    assert violation.states == {1}


class Steps(Register):
    """A register that counts the model's steps, because the count, unlike time, is the same on every machine."""

    count = 0

    def step(self, state: int, action: tuple[Any, ...]) -> tuple[int, ...]:
        self.count += 1
        return super().step(state, action)


@pytest.mark.parametrize("length", [1_000, 4_000])
def test_steps_grow_linearly_with_the_history(length: int) -> None:
    model = Steps()
    history: list[Interval[tuple[Any, ...]]] = []
    for start in range(0, 10 * length, 10):
        value = start // 10 % 3
        history += [
            Interval(("write", value), start, start + 4),
            Interval(("read", value), start + 1, start + 6),
            Interval(("read", value), start + 5, start + 8),
        ]

    assert find_violation(model, history) is None
    assert model.count < 4 * len(history)


def has_order(model: Model[State, Action], history: Sequence[Interval[Action]]) -> bool:
    """Return whether any order explains the history, by trying every subset of the unreturned operations."""
    returned = [interval for interval in history if interval.returned is not None]
    unknown = [interval for interval in history if interval.returned is None]
    return any(
        _explains(model, order)
        for chosen in _subsets(unknown)
        for order in permutations([*returned, *chosen])
    )


def _subsets(items: Sequence[Interval[Action]]) -> Iterator[Iterable[Interval[Action]]]:
    for size in range(len(items) + 1):
        yield from combinations(items, size)


def _explains(model: Model[State, Action], order: Sequence[Interval[Action]]) -> bool:
    states = {model.initial}
    latest = -inf
    for interval in order:
        latest = max(latest, interval.invoked)
        if interval.returned is not None and interval.returned < latest:
            return False  # An operation before it in the order began only after its return.
        states = {after for state in states for after in model.step(state, interval.action)}
    return bool(states)
