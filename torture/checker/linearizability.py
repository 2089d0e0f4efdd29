"""Is there one order of operations that agrees with the answers and with time? Knows nothing of money.

An operation takes effect at one moment between its invocation and its return. A history is linearizable (Herlihy
& Wing 1990) when such moments can be chosen so that a sequential object, the model, would have answered the same.

The search is that of Wing & Gong (*Testing and verifying concurrent objects*, 1993) with two improvements by Lowe
(*Testing for linearizability*, 2017): configurations seen before are not searched again, and an operation is
linearized just in time, which is when another that returns needs it. Porcupine is built on the first. A history of
many independent objects is to be checked one object at a time (Herlihy & Wing's locality; Horn & Kroening,
*Faster linearizability checking via P-compositionality*, 2015): that is the caller's part.

A configuration is a state of the model and the set of those pending operations that have taken effect in it. It
stays small, and the search near linear, for three reasons, none of which loses an order:

- Just in time: before an operation returns nothing forces any other to take effect, and what could have taken
  effect earlier still can now: everything that is pending has been pending since.
- An operation that never changes a state, an observation, takes effect as soon as a configuration's state allows
  it. Take any order that has it later: with it moved to here, every other operation meets the same states.
- What has taken effect in every configuration is forgotten: no configuration is told from another by it. So a
  moment at which nothing is pending leaves nothing but states, and the history is cut there by itself.
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
        """The state before anything."""

    def step(self, state: State, action: Action_contra) -> Iterable[State]:
        """The states that the action may leave; none where it can't have been answered so."""

    def observes(self, action: Action_contra) -> bool:
        """Whether the action leaves every state as it is: its steps are none, or the state itself."""


class Interval(NamedTuple, Generic[Action]):
    """An action and when it ran, by one clock.

    Attributes:
        returned: None: never. It may take effect at any time after its invocation, or not at all.
    """

    action: Action
    invoked: float
    returned: float | None


@dataclass(frozen=True, slots=True)
class Violation(Generic[State, Action]):
    """Everything before this return can be ordered, and this no more.

    Attributes:
        interval: what can't have been answered so.
        states: those that were possible when it returned, before anything else pending took effect.
    """

    interval: Interval[Action]
    states: frozenset[State]


def find_violation(
    model: Model[State, Action], intervals: Iterable[Interval[Action]]
) -> Violation[State, Action] | None:
    """The first return that no order explains; None: the history is linearizable.

    An operation that is invoked at the very moment of another's return is taken to run beside it.
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
    """Invocations and returns in the order of time: the index of each interval, and whether it returns."""
    moments = [(interval.invoked, False, index) for index, interval in enumerate(intervals)]
    moments += [
        (interval.returned, True, index)
        for index, interval in enumerate(intervals)
        if interval.returned is not None
    ]
    # False comes before True: of equal moments, invocations first.
    moments.sort()
    for _, returns, index in moments:
        yield index, returns


class _Search(Generic[State, Action]):
    """All configurations that agree with what was seen so far: (state, mask of what has taken effect).

    A pending operation has a slot, a bit of the mask. Slots are used again, so that masks stay short.
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
        """From now on the operation may take effect."""
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
        """The operation returns: configurations in which it can't have taken effect are dropped.

        Returns:
            Whether any is left.
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
            for following in self._following(state, mask):
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
        self._configurations = complete
        self._forget()
        return bool(complete)

    def _following(self, state: State, mask: int) -> Iterator[tuple[State, int]]:
        """The configurations after one pending change."""
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
        """Gives back the slots of what has taken effect in every configuration."""
        everywhere = -1
        for _, mask in self._configurations:
            everywhere &= mask
        if everywhere <= 0:  # Nothing has, or there is no configuration.
            return
        self._configurations = {(state, mask & ~everywhere) for state, mask in self._configurations}
        while everywhere:
            slot = everywhere.bit_length() - 1
            everywhere ^= 1 << slot
            self._observations.pop(slot, None)
            self._changes.pop(slot, None)
            del self._slots[self._indexes.pop(slot)]
            self._free.append(slot)
