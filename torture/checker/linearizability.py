"""A checker of linearizability: does one order of operations agree with the answers and with time?

It is independent of the ledger: the caller supplies the model. An operation takes effect at one moment between its
invocation and its return. A history is linearizable (Herlihy & Wing 1990) when such moments can be chosen so that a
sequential object, the model, would have given the same answers.

The search is that of Wing & Gong (*Testing and verifying concurrent objects*, 1993) with two improvements by Lowe
(*Testing for linearizability*, 2017). Configurations that were seen before are not searched again. An operation is
linearized just in time, which means when another operation that returns needs it. Porcupine uses the first of the two.
A history of many independent objects should be checked one object at a time (Herlihy & Wing's locality; Horn &
Kroening, *Faster linearizability checking via P-compositionality*, 2015), which is left to the caller.

A configuration is a state of the model and the set of the pending operations that have taken effect in it. The set of
configurations stays small, and the search near linear, for three reasons, none of which loses an order:

- Just in time: until an operation returns, nothing forces any other operation to take effect. An operation that could
  have taken effect earlier still can now, because everything that is pending now has been pending since then.
- An operation that never changes a state (an observation) takes effect as soon as a configuration's state allows it.
  Take any order in which it comes later: if it is moved to this moment, every other operation meets the same states.
- An operation that has taken effect in every configuration is removed from all of them, because it does not distinguish
  them. Therefore, at a moment at which nothing is pending, only states are left, and the search begins again from
  these.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

State = TypeVar("State", bound=Hashable)
Action = TypeVar("Action")
Action_contra = TypeVar("Action_contra", contravariant=True)


class Model(Protocol[State, Action_contra]):
    """A sequential object. An action is a call together with its answer."""

    @property
    def initial(self) -> State:
        """The state before the first action."""

    def step(self, state: State, action: Action_contra) -> Iterable[State]:
        """Return the states that the action may lead to. There are none if the call can't have had this answer in this
        state."""

    def observes(self, action: Action_contra) -> bool:
        """Return whether the action never changes a state: its steps are empty, or only the state itself."""


class Interval(NamedTuple, Generic[Action]):
    """An action and the time during which it ran, by one clock.

    Attributes:
        returned: the time of its return. None means that it never returned: it may take effect at any time after its
            invocation, or not at all.
    """

    action: Action
    invoked: float
    returned: float | None


@dataclass(frozen=True, slots=True)
class Violation(Generic[State, Action]):
    """The first return at which no order explains the answers so far.

    Attributes:
        interval: the action whose answer no order explains.
        states: the states that were possible at its return, before any other pending action took effect.
    """

    interval: Interval[Action]
    states: frozenset[State]


def find_violation(
    model: Model[State, Action], intervals: Iterable[Interval[Action]]
) -> Violation[State, Action] | None:
    """Return the first violation, or None if the history is linearizable.

    An operation that is invoked at the very moment at which another returns counts as concurrent with it.
    """
    search = _Search(model)
    intervals = list(intervals)
    for index, returns in _moments(intervals):
        interval = intervals[index]
        if not returns:
            search.invoke(index, interval.action)
            continue
        states = search.states()
        if not search.complete(index):
            return Violation(interval, states)
    return None


def _moments(intervals: list[Interval[Action]]) -> Iterator[tuple[int, bool]]:
    """Yield invocations and returns in the order of time: the index of the interval, and whether it is a return."""
    moments = [(interval.invoked, False, index) for index, interval in enumerate(intervals)]
    moments += [
        (interval.returned, True, index)
        for index, interval in enumerate(intervals)
        if interval.returned is not None
    ]
    # False sorts before True, so at equal times invocations come first.
    moments.sort()
    for _, returns, index in moments:
        yield index, returns


class _Search(Generic[State, Action]):
    """All configurations that agree with the history so far: pairs of a state and a mask of operations in effect.

    Each pending operation has a slot, which is a bit of the mask. Slots are reused, so that masks stay short.
    """

    def __init__(self, model: Model[State, Action]) -> None:
        self._model = model
        self._configurations: set[tuple[State, int]] = {(model.initial, 0)}
        self._observations: dict[int, Action] = {}
        self._changes: dict[int, Action] = {}
        self._slots: dict[int, int] = {}
        self._indexes: dict[int, int] = {}
        self._free: list[int] = []

    def states(self) -> frozenset[State]:
        return frozenset(state for state, _ in self._configurations)

    def invoke(self, index: int, action: Action) -> None:
        """Add an operation to the pending ones; from now on it may take effect."""
        observes = self._model.observes(action)
        if observes and all(self._allows(state, action) for state, _ in self._configurations):
            return
        slot = self._free.pop() if self._free else len(self._slots)
        self._slots[index] = slot
        self._indexes[slot] = index
        if not observes:
            self._changes[slot] = action
            return
        self._observations[slot] = action
        self._configurations = {
            (state, mask | 1 << slot if self._allows(state, action) else mask)
            for state, mask in self._configurations
        }

    def complete(self, index: int) -> bool:
        """Let the operation return: drop the configurations in which it can't have taken effect.

        Returns:
            Whether any configuration is left.
        """
        if index not in self._slots:  # It has taken effect in every configuration.
            return True
        bit = 1 << self._slots[index]
        complete: set[tuple[State, int]] = set()
        seen = set(self._configurations)
        waiting = list(self._configurations)
        while waiting:
            state, mask = waiting.pop()
            if mask & bit:
                complete.add((state, mask))
                continue
            for following in self._apply_each_change(state, mask):
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
        self._configurations = complete
        self._forget()
        return bool(complete)

    def _apply_each_change(self, state: State, mask: int) -> Iterator[tuple[State, int]]:
        """Yield the configurations after one more pending change has taken effect."""
        for slot, change in self._changes.items():
            if mask >> slot & 1:
                continue
            for after in self._model.step(state, change):
                changed = mask | 1 << slot
                for other, observation in self._observations.items():
                    if not changed >> other & 1 and self._allows(after, observation):
                        changed |= 1 << other
                yield after, changed

    def _allows(self, state: State, observation: Action) -> bool:
        return any(True for _ in self._model.step(state, observation))

    def _forget(self) -> None:
        """Release the slots of the operations that have taken effect in every configuration."""
        everywhere = -1
        for _, mask in self._configurations:
            everywhere &= mask
        if everywhere <= 0:  # None has, or there is no configuration.
            return
        self._configurations = {(state, mask & ~everywhere) for state, mask in self._configurations}
        while everywhere:
            slot = everywhere.bit_length() - 1
            everywhere ^= 1 << slot
            self._observations.pop(slot, None)
            self._changes.pop(slot, None)
            del self._slots[self._indexes.pop(slot)]
            self._free.append(slot)
