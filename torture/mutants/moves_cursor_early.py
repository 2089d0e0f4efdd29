"""Mutant that moves a cursor before the batch is published.

Forgotten: a cursor may move past an event only after its publication was confirmed.
Harm: if a broker or a relay is killed between the two steps, the events of the batch are lost, because the next relay
begins after them.
Safeguard removed: none. The order of the two steps in `saldo.relay.relay` is the safeguard.
"""

from __future__ import annotations

import asyncio

from saldo.bootstrap import relay as relays
from saldo.bootstrap import webhooks
from saldo.events.event import Event
from saldo.relay.relay import Relay
from saldo.store.log import Positions
from saldo.store.sinks import SinkLease
from torture.mutants.mutant import Mutant, replace

WINDOW_SECONDS = 0.3
"""Pause between the two steps, in seconds. Without it, a kill would happen between them in only one of many rounds."""


class HastyRelay(Relay):
    """A relay that moves the cursor and then publishes."""

    async def _publish(self, lease: SinkLease, positions: Positions, batch: list[Event]) -> None:
        await self._sinks.move_cursors(lease, {event.shard: event.seq for event in batch})
        await asyncio.sleep(WINDOW_SECONDS)
        await super()._publish(lease, positions, batch)


def plant() -> None:
    """Plant the bug that the module's docstring describes."""
    for module in (relays, webhooks):
        replace(module, "Relay", HastyRelay)


MUTANT = Mutant(
    "moves_cursor_early",
    caught_as=("event missing",),
    provoked_by=("rabbitmq killed", "relay killed", "service killed"),
    plant=plant,
)
