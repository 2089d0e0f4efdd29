"""Forgotten: one event in some hundreds. The relay leaves it out of its batch, and its cursor moves past it.

Harm: a consumer never hears of a transaction; its own balance of the user is wrong from then on.
Fence taken down: none. The real relay publishes what it has read, and the log's numbers have no gap by which the
service itself could tell; a consumer can, by the user's numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saldo.bootstrap import relays, webhooks
from saldo.relay.events import Event
from saldo.relay.relay import Relay
from saldo.relay.sink import Sink
from saldo.store.sinks import Lease
from torture.mutants.mutant import Mutant, replace

EVENTS_EACH = 300
"""Of so many events of a relay one is left out, the last of them."""


class LeakingSink:
    """A sink that confirms more than it publishes."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._events = 0

    @property
    def name(self) -> str:
        """See `Sink.name`."""
        return self._sink.name

    async def open(self, lease: Lease) -> None:
        """See `Sink.open`."""
        await self._sink.open(lease)

    async def publish(self, events: Sequence[Event]) -> int:
        """See `Sink.publish`."""
        kept: list[Event] = []
        for event in events:
            self._events += 1
            if self._events % EVENTS_EACH:
                kept.append(event)
        return await self._sink.publish(kept)

    async def close(self) -> None:
        """See `Sink.close`."""
        await self._sink.close()


class LeakingRelay(Relay):
    """A relay to such a sink."""

    def __init__(self, sink: Sink, *given: Any, **named: Any) -> None:
        super().__init__(LeakingSink(sink), *given, **named)


def plant() -> None:
    """See the file."""
    for module in (relays, webhooks):
        replace(module, "Relay", LeakingRelay)


MUTANT = Mutant("skips_event", caught_as=("event missing",), provoked_by=(), plant=plant)
