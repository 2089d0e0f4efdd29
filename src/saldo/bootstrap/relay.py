"""The parts of a relay process: the relays of all sinks, the totals, the sealer and the audit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from saldo.background.seal_worker import Sealer
from saldo.background.throttle import PostingActivity
from saldo.background.totals_worker import run_totals
from saldo.bootstrap.audit import run_audit
from saldo.bootstrap.heads import run_head_publisher
from saldo.bootstrap.pools import open_relay_pool
from saldo.bootstrap.webhooks import run_webhooks
from saldo.events.event import EventEncoder
from saldo.lifecycle.tasks import run_task
from saldo.relay.rabbitmq.exchange import ExchangeOptions, ExchangeSink
from saldo.relay.rabbitmq.stream import StreamOptions, StreamSink
from saldo.relay.relay import Relay, RelayLimits, open_no_span, run_relays_until_exit
from saldo.relay.sink import Sink
from saldo.relay.wakeup import receive_wakeups
from saldo.settings.model import Settings
from saldo.store.log import Log
from saldo.store.seals import SealStore
from saldo.store.sinks import Sinks, SinkStatus
from saldo.store.totals import Totals

if TYPE_CHECKING:
    from saldo.observability.tracing import Tracing

RewindTarget = Literal["start", "now"] | datetime | tuple[int, int]
"""Target of a rewind: the start of the log ("start"), its end ("now"), a time, or a shard and a `seq`. Publishing
continues with the first entry that was recorded at the time or later, or with the entry after `seq`."""


class PositionBeyondHeadError(Exception):
    """Raised when a position is past the end of the log."""


@asynccontextmanager
async def run_relays(
    settings: Settings,
    database_url: str,
    wakeup_path: Path | None,
    tracing: Tracing | None = None,
) -> AsyncIterator[None]:
    """Run a relay for each configured sink, and the background tasks. On exit the relays publish the remaining events,
    within the shutdown timeout.

    Args:
        wakeup_path: the socket that receives wakeups; None means that new entries are found by polling only.
        tracing: receives a span for each batch of events, except those of webhooks.
    """
    async with open_relay_pool(settings, database_url) as pool:
        log = Log(pool)
        sinks = Sinks(pool, lease_seconds=settings.relay_lease_seconds)
        encoder = EventEncoder(settings.currency_decimals)
        limits = RelayLimits(
            batch_events_max=settings.relay_batch_events_max,
            poll_seconds=settings.relay_poll_seconds,
            lease_seconds=settings.relay_lease_seconds,
            publish_timeout_seconds=settings.relay_publish_timeout_seconds,
        )
        open_span = open_no_span if tracing is None else tracing.open_span
        activity = PostingActivity(is_recorded=wakeup_path is not None)
        relays = [
            Relay(sink, log, sinks, encoder, limits, open_span, activity)
            for sink in create_sinks(settings)
        ]

        def wake() -> None:
            activity.record_batch()
            for relay in relays:
                relay.wake()
            webhooks.wake()

        async with AsyncExitStack() as stack:
            webhooks = await stack.enter_async_context(run_webhooks(settings, database_url))
            if wakeup_path is not None:
                stack.enter_context(closing(await receive_wakeups(wakeup_path, wake)))
            start = stack.enter_async_context
            await start(run_task(run_totals(Totals(pool), activity), name="totals"))
            await start(run_task(run_audit(settings, pool, activity), name="audit"))
            if settings.seals_enabled:
                sealer = Sealer(SealStore(pool), activity)
                # The last head is published after the sealer has been stopped.
                await start(run_head_publisher(settings, pool, sealer))
                await start(run_task(sealer.run(), name="sealing"))
            async with run_relays_until_exit(relays, settings.shutdown_timeout_seconds):
                yield


def create_sinks(settings: Settings) -> list[Sink]:
    """Return the configured sinks."""
    sinks: list[Sink] = []
    if settings.rabbitmq_url is not None:
        sinks.append(
            ExchangeSink(
                ExchangeOptions(
                    settings.rabbitmq_url,
                    settings.rabbitmq_exchange,
                    settings.rabbitmq_declare,
                    settings.rabbitmq_ca_file,
                )
            )
        )
    if settings.rabbitmq_stream_url is not None:
        sinks.append(
            StreamSink(
                StreamOptions(
                    settings.rabbitmq_stream_url,
                    settings.rabbitmq_stream,
                    settings.rabbitmq_declare,
                    settings.rabbitmq_stream_bytes_max,
                    settings.rabbitmq_ca_file,
                )
            )
        )
    return sinks


async def read_sink_status(settings: Settings, database_url: str) -> list[SinkStatus]:
    """Return the status of every sink: its cursors and its lag."""
    async with open_relay_pool(settings, database_url) as pool:
        return await Sinks(pool, lease_seconds=settings.relay_lease_seconds).list_statuses()


async def rewind_sink(
    settings: Settings, database_url: str, name: str, target: RewindTarget
) -> None:
    """Move the cursors of a sink to another position in the log.

    Raises:
        UnknownSinkError: there is no such sink.
        PositionBeyondHeadError: the position is past the end of the log.
    """
    async with open_relay_pool(settings, database_url) as pool:
        log = Log(pool)
        last_positions = await log.read_last_positions()
        if target == "start":
            positions = dict.fromkeys(last_positions, 0)
        elif target == "now":
            positions = last_positions
        elif isinstance(target, datetime):
            positions = await log.find_positions_at(target)
        else:
            assert isinstance(target, tuple)
            shard, seq = target
            if seq > last_positions[shard]:
                raise PositionBeyondHeadError(
                    f"the last position of shard {shard} is {last_positions[shard]}"
                )
            positions = {shard: seq}
        await Sinks(pool, lease_seconds=settings.relay_lease_seconds).rewind_cursors(
            name, positions
        )
