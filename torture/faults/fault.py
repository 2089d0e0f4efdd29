"""The base class of faults."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import ClassVar

from torture.world.postgresql import Node
from torture.world.services import Service
from torture.world.world import World


def reason_without_standby(world: World) -> str:
    """Return why a fault that needs a standby can't be injected, or an empty string if it can."""
    return "" if len(world.pair.nodes) > 1 else "there is no standby"


class Fault(ABC):
    """One fault that is injected once.

    Attributes:
        kind: its name, also used in the reports.
        affects: the parts of the system that the fault affects. Two faults run at the same time only if they affect
            different parts.
        from_begin: whether recovery is measured from the begin of the fault and not from its end. It is true for
            processes that are killed and immediately restarted.
        seconds: the shortest and the longest duration, in seconds.
    """

    kind: ClassVar[str]
    affects: ClassVar[frozenset[str]]
    from_begin: ClassVar[bool] = False
    seconds: ClassVar[tuple[float, float]] = (0.5, 3.0)

    def __init__(self, world: World, source: random.Random) -> None:
        """Choose the target and the duration of the fault.

        Args:
            source: the random source of all choices.
        """
        self.world = world
        self.random = source
        self.service: Service = source.choice(world.services)
        self.lasts_seconds = source.uniform(*self.seconds)

    @property
    def target(self) -> str:
        """The target and the manner of the fault, for the log."""
        return ""

    @property
    def primary(self) -> Node:
        """The server that is the primary at present."""
        return self.world.pair.primary

    @classmethod
    def reason_unavailable(cls, world: World) -> str:
        """Return why the fault can't be injected on this machine, or an empty string if it can."""
        del world
        return ""

    async def prepare(self) -> None:  # noqa: B027
        """Wait for the preconditions of the fault. This time is not measured."""

    @abstractmethod
    async def begin(self) -> None: ...

    @abstractmethod
    async def end(self) -> None: ...
