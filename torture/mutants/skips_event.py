"""Mutant that loses every 300th event: the relay leaves it out of its batch, and its cursor moves past it.

Forgotten: one event in some hundreds.
Harm: a consumer never receives a transaction, so its own balance of the user is wrong from then on.
Safeguard removed: none. The real relay publishes what it has read, and the log's numbers have no gap by which the
service could detect the loss. A consumer can detect it by the user's numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saldo.bootstrap import relay as relays
from saldo.bootstrap import webhooks
from saldo.events.event import Event
from saldo.relay.relay import Relay
from saldo.relay.sink import Sink
from saldo.store.sinks import SinkLease
from torture.mutants.mutant import Mutant, replace

EVENTS_PER_LOSS = 300
"""Interval between two events that are left out, counted in events of one relay."""


class LeakingSink:
    """A sink that confirms more events than it publishes."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._events = 0

    @property
    def name(self) -> str:
        """See `Sink.name`."""
        return self._sink.name

    async def open(self, lease: SinkLease) -> None:
        """See `Sink.open`."""
        await self._sink.open(lease)

    async def publish(self, events: Sequence[Event]) -> int:
        """Publish the batch without every 300th event, and confirm all of it."""
        kept: list[Event] = []
        for event in events:
            self._events += 1
            if self._events % EVENTS_PER_LOSS:
                kept.append(event)
        return await self._sink.publish(kept)

    async def get_blocked_reason(self) -> str | None:
        """See `Sink.get_blocked_reason`."""
        return await self._sink.get_blocked_reason()

    async def close(self) -> None:
        """See `Sink.close`."""
        await self._sink.close()


class LeakingRelay(Relay):
    """A relay to a `LeakingSink`."""

    def __init__(self, sink: Sink, *given: Any, **named: Any) -> None:
        super().__init__(LeakingSink(sink), *given, **named)


def plant() -> None:
    """Plant the bug that the module's docstring describes."""
    for module in (relays, webhooks):
        replace(module, "Relay", LeakingRelay)


MUTANT = Mutant("skips_event", caught_as=("event missing",), provoked_by=(), plant=plant)
