"""What faults have in common."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import ClassVar

from torture.world.postgresql import Node
from torture.world.services import Service
from torture.world.world import World


def without_standby(world: World) -> str:
    """Why what needs a standby can't be done; empty: it can."""
    return "" if len(world.pair.nodes) > 1 else "there is no standby"


class Fault(ABC):
    """One fault, once.

    Attributes:
        kind: its name, in the reports too.
        touches: two faults are there at the same time only if they touch different things.
        from_begin: whether recovery is counted from the begin, not from the end: of what is killed and
            started again at once.
        seconds: how long it lasts, from and to.
    """

    kind: ClassVar[str]
    touches: ClassVar[frozenset[str]]
    from_begin: ClassVar[bool] = False
    seconds: ClassVar[tuple[float, float]] = (0.5, 3.0)

    def __init__(self, world: World, source: random.Random) -> None:
        """
        Args:
            source: all that is chosen comes from it.
        """
        self.world = world
        self.random = source
        self.service: Service = source.choice(world.services)
        self.lasts_seconds = source.uniform(*self.seconds)

    @property
    def what(self) -> str:
        """What it is done to, and how."""
        return ""

    @property
    def primary(self) -> Node:
        """The server that is the primary now."""
        return self.world.pair.primary

    @classmethod
    def refused(cls, world: World) -> str:
        """Why it can't be done on this machine; empty: it can."""
        del world
        return ""

    async def prepare(self) -> None:  # noqa: B027
        """What must be true before it may begin. Not counted."""

    @abstractmethod
    async def begin(self) -> None: ...

    @abstractmethod
    async def end(self) -> None: ...
