"""Forgotten: that a cursor says what was confirmed. It moves before the batch is published.

Harm: a broker or a relay that is killed in between loses the events of the batch: whoever goes on begins after them.
Fence taken down: none. The order of the two steps in `saldo.relay.relay` is the fence.
"""

from __future__ import annotations

from saldo.bootstrap import relays, webhooks
from saldo.relay.events import Event
from saldo.relay.relay import Relay
from saldo.store.log import Positions
from saldo.store.sinks import Lease
from torture.mutants.mutant import Mutant, replace


class HastyRelay(Relay):
    """Moves, then publishes."""

    async def _publish(self, lease: Lease, positions: Positions, batch: list[Event]) -> None:
        await self._sinks.move(lease, {event.shard: event.seq for event in batch})
        await super()._publish(lease, positions, batch)


def plant() -> None:
    """See the file."""
    for module in (relays, webhooks):
        replace(module, "Relay", HastyRelay)


MUTANT = Mutant(
    "moves_cursor_early",
    caught_as=("event missing",),
    provoked_by=("rabbitmq killed", "relay killed", "service killed"),
    plant=plant,
)
