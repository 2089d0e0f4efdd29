"""A stream of RabbitMQ as a sink. All events are published in batches, and each event is in the stream exactly once.

The broker removes duplicates, because it stores the last publishing id of each publisher. A publisher's name contains
the shard and the epoch of the log, and the publishing id is the `seq` in the shard. After a restore or a rewind the
epoch is different, so that events at repeated positions count as new.

Only the protocol client of the library is used, because the library's producer has only one publisher per stream.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rstream import AMQPMessage, Properties, ServerError, exceptions, schema
from rstream.client import Client

from saldo.events.event import CONTENT_TYPE, Event
from saldo.relay.sink import CLOSE_SECONDS_MAX, SinkError, create_tls_context
from saldo.store.sinks import SinkLease

CONNECT_SECONDS_MAX = 10.0
HEARTBEAT_SECONDS = 20
FRAME_BYTES_MAX = 1024 * 1024
FRAME_EVENTS_BYTES_MAX = 512 * 1024
"""Maximum size of the events in one frame. The rest of the frame is left for the protocol's overhead per event."""
NAME = "rabbitmq-stream"

_PROPERTIES = bytes(AMQPMessage(properties=Properties(content_type=CONTENT_TYPE)))
"""First section of every message. It is encoded only once, because encoding it takes twice as long as encoding the rest
of a message."""

_FAULTS = (ServerError, exceptions.ClientError, OSError, TimeoutError, RuntimeError, AssertionError)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """The address of a stream.

    Attributes:
        url: rabbitmq-stream:// or rabbitmq-stream+tls://, with user, password and virtual host.
        declare: whether the sink creates the stream. Otherwise the stream must exist.
        bytes_max: maximum size of a stream that the sink creates. Above it, the broker deletes the oldest events.
        ca_file: the certificate authorities that are trusted; None means those that the system trusts.
    """

    url: str
    stream: str
    declare: bool
    bytes_max: int
    ca_file: Path | None = None


class StreamSink:
    """The sink of a stream. It uses one connection with one publisher per shard."""

    def __init__(self, options: StreamOptions) -> None:
        self._options = options
        self._client: Any = None
        self._publishers: set[int] = set()
        self._log_epoch = ""
        self._unconfirmed = 0
        self._confirmed: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        return NAME

    async def open(self, lease: SinkLease) -> None:
        """See `Sink.open`."""
        self._log_epoch = lease.log_epoch
        self._publishers.clear()
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                await self._connect(f"saldo, epoch {lease.epoch}")
        except _FAULTS as error:
            raise _convert_to_sink_error(error) from error

    async def publish(self, events: Sequence[Event]) -> int:
        """See `Sink.publish`."""
        self._unconfirmed = len(events)
        self._confirmed = asyncio.get_running_loop().create_future()
        try:
            for shard, group in groupby(events, key=attrgetter("shard")):
                await self._declare(shard)
                for messages in _group_into_frames(group):
                    await self._client.send_publish_frame(schema.Publish(shard, messages))
            if not self._client.is_connection_alive():
                raise SinkError("RabbitMQ stream: the connection was closed")
            await self._confirmed
        except _FAULTS as error:
            raise _convert_to_sink_error(error) from error
        finally:
            self._confirmed.cancel()
        return 0

    async def get_blocked_reason(self) -> str | None:
        """Return None, because the stream protocol does not report whether the broker blocks. A blocked batch times
        out."""
        return None

    async def close(self) -> None:
        """See `Sink.close`."""
        client, self._client = self._client, None
        if client is not None:
            connection = client._conn
            with contextlib.suppress(*_FAULTS, asyncio.CancelledError):
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await client.close()
            # The library leaves the socket of a broken connection to the garbage collector.
            if connection is not None and connection._writer is not None:
                connection._writer.transport.abort()

    async def _connect(self, connection_name: str) -> None:
        options = self._options
        url = urlsplit(options.url)
        tls = url.scheme.endswith("+tls")
        self._client = Client(
            url.hostname or "localhost",
            url.port or (5551 if tls else 5552),
            ssl_context=create_tls_context(options.ca_file) if tls else None,
            frame_max=FRAME_BYTES_MAX,
            heartbeat=HEARTBEAT_SECONDS,
            connection_name=connection_name,
            connection_closed_handler=self._on_closed,
        )
        await self._client.start()
        # Without a subscribed stream the client does not report that the connection is closed.
        self._client.add_stream(options.stream)
        self._client.add_handler(schema.PublishConfirm, self._on_confirm, name="saldo")
        self._client.add_handler(schema.PublishError, self._on_error, name="saldo")
        self._client.add_handler(schema.MetadataUpdate, self._on_stream_gone, name="saldo")
        await self._client.authenticate(
            unquote(url.path[1:]) or "/",
            unquote(url.username or "guest"),
            unquote(url.password or "guest"),
        )
        if options.declare:
            with contextlib.suppress(exceptions.StreamAlreadyExists):
                await self._client.create_stream(
                    options.stream, {"max-length-bytes": options.bytes_max}
                )

    async def _declare(self, shard: int) -> None:
        if shard not in self._publishers:
            reference = f"saldo-{self._log_epoch}-{shard}"
            await self._client.declare_publisher(self._options.stream, reference, shard)
            self._publishers.add(shard)

    def _on_confirm(self, frame: schema.PublishConfirm) -> None:
        self._unconfirmed -= len(frame.publishing_ids)
        if self._unconfirmed <= 0 and self._confirmed and not self._confirmed.done():
            self._confirmed.set_result(None)

    def _on_error(self, frame: schema.PublishError) -> None:
        codes = sorted({error.response_code for error in frame.errors})
        self._fail(f"refused events with code {', '.join(map(str, codes))}")

    def _on_stream_gone(self, _: schema.MetadataUpdate) -> None:
        self._fail("the stream has moved or is gone")

    def _on_closed(self, _: object) -> None:
        self._fail("the connection is closed")

    def _fail(self, why: str) -> None:
        if self._confirmed and not self._confirmed.done():
            self._confirmed.set_exception(SinkError(f"RabbitMQ stream: {why}"))


def _group_into_frames(events: Iterator[Event]) -> Iterator[list[schema.Message]]:
    """Yield the messages of one shard's events, in groups that fit in a frame."""
    messages: list[schema.Message] = []
    size = 0
    for event in events:
        data = _PROPERTIES + bytes(AMQPMessage(body=event.body))
        if messages and size + len(data) > FRAME_EVENTS_BYTES_MAX:
            yield messages
            messages, size = [], 0
        messages.append(schema.Message(event.seq, None, data))
        size += len(data)
    if messages:
        yield messages


def _convert_to_sink_error(error: BaseException) -> SinkError:
    if isinstance(error, SinkError):
        return error
    lines = str(error).strip().splitlines()
    return SinkError(f"RabbitMQ stream: {lines[0] if lines else type(error).__name__}")
