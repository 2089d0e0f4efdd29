"""What follows the log: relays, and beside them who counts, seals and audits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from saldo.bootstrap.audits import auditing
from saldo.bootstrap.pools import relay_pool
from saldo.bootstrap.webhooks import webhooks_at_work
from saldo.relay.bell import listen
from saldo.relay.counting import count
from saldo.relay.events import Encoder
from saldo.relay.exchange import ExchangeOptions, ExchangeSink
from saldo.relay.pace import Beside
from saldo.relay.relay import Relay, RelayLimits, no_span, relaying
from saldo.relay.sealing import Sealer
from saldo.relay.sink import Sink
from saldo.relay.stream import StreamOptions, StreamSink
from saldo.settings import Settings
from saldo.store.log import Log
from saldo.store.seals import Seals
from saldo.store.sinks import Sinks, SinkStatus
from saldo.store.totals import Totals

if TYPE_CHECKING:
    from saldo.observability.tracing import Tracing

RewindTarget = Literal["start", "now"] | datetime | tuple[int, int]
"""Everything again; nothing again; what was recorded from then on; what is after `seq` in one shard."""


class PastTheHeadError(Exception):
    """A position that the log doesn't have."""


@asynccontextmanager
async def relays_at_work(
    settings: Settings,
    database_url: str,
    bell_path: Path | None,
    tracing: Tracing | None = None,
) -> AsyncIterator[None]:
    """A relay for each configured sink, started; at the end each publishes what is there.

    Args:
        bell_path: where to listen for what is new; None: only looking tells.
        tracing: gets a span for each batch of events; not for those of webhooks.
    """
    async with relay_pool(settings, database_url) as pool:
        log = Log(pool)
        sinks = Sinks(pool, lease_seconds=settings.relay_lease_seconds)
        encoder = Encoder(settings.currency_decimals)
        limits = RelayLimits(
            batch_events_max=settings.relay_batch_events_max,
            poll_seconds=settings.relay_poll_seconds,
            lease_seconds=settings.relay_lease_seconds,
            publish_timeout_seconds=settings.relay_publish_timeout_seconds,
        )
        span = no_span if tracing is None else tracing.span
        beside = Beside(told=bell_path is not None)
        relays = [
            Relay(sink, log, sinks, encoder, limits, span, beside) for sink in sinks_of(settings)
        ]

        def wake() -> None:
            beside.rung()
            for relay in relays:
                relay.wake()
            webhooks.wake()

        async with webhooks_at_work(settings, database_url) as webhooks:
            bell = None if bell_path is None else await listen(bell_path, wake)
            followers = [
                asyncio.create_task(count(Totals(pool), beside), name="counting"),
                asyncio.create_task(auditing(settings, pool, beside), name="audit"),
            ]
            if settings.seals:
                sealer = Sealer(Seals(pool), beside)
                followers.append(asyncio.create_task(sealer.run(), name="sealing"))
            try:
                async with relaying(relays, settings.stop_seconds):
                    yield
            finally:
                for follower in followers:
                    follower.cancel()
                await asyncio.gather(*followers, return_exceptions=True)
        if bell is not None:
            bell.close()


def sinks_of(settings: Settings) -> list[Sink]:
    """The sinks that are configured."""
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


async def sinks_status(settings: Settings, database_url: str) -> list[SinkStatus]:
    """Every sink: what it has got, and how far it is behind."""
    async with relay_pool(settings, database_url) as pool:
        return await Sinks(pool, lease_seconds=settings.relay_lease_seconds).status()


async def rewind_sink(settings: Settings, database_url: str, name: str, to: RewindTarget) -> None:
    """Lets a sink go on elsewhere in the log.

    Raises:
        UnknownSinkError: there is no such sink.
        PastTheHeadError: the log doesn't reach so far.
    """
    async with relay_pool(settings, database_url) as pool:
        log = Log(pool)
        heads = await log.heads()
        if to == "start":
            positions = dict.fromkeys(heads, 0)
        elif to == "now":
            positions = heads
        elif isinstance(to, datetime):
            positions = await log.before(to)
        else:
            assert isinstance(to, tuple)
            shard, seq = to
            if seq > heads[shard]:
                raise PastTheHeadError(f"shard {shard} ends at {heads[shard]}")
            positions = {shard: seq}
        await Sinks(pool, lease_seconds=settings.relay_lease_seconds).rewind(name, positions)
