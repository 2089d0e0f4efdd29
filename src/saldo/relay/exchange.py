"""A topic exchange of RabbitMQ: one message for each event, persistent, confirmed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange
from aiormq.abc import DeliveredMessage

from saldo.relay.events import CONTENT_TYPE, Event
from saldo.relay.sink import SinkError, trusting
from saldo.store.sinks import Lease

CONNECT_SECONDS_MAX = 10.0
CLOSE_SECONDS_MAX = 2.0
NAME = "rabbitmq-exchange"

_FAULTS = (aio_pika.exceptions.AMQPError, OSError, TimeoutError, RuntimeError, ValueError)
"""What the client raises: of the protocol, of the network, of a connection closed meanwhile, of the URL."""


@dataclass(frozen=True, slots=True)
class ExchangeOptions:
    """Where it is.

    Attributes:
        url: amqp:// or amqps://, with user, password and virtual host.
        declare: whether we create the exchange; else it must exist.
        ca_file: who has signed the broker's certificate; None: those whom the system trusts.
    """

    url: str
    exchange: str
    declare: bool
    ca_file: Path | None = None


class ExchangeSink:
    """Publishes a batch with all its messages under way at once, on one channel: the broker keeps their order."""

    def __init__(self, options: ExchangeOptions) -> None:
        self._options = options
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None

    @property
    def name(self) -> str:
        return NAME

    async def open(self, lease: Lease) -> None:
        """See `Sink.open`."""
        options, ca_file = self._options, self._options.ca_file
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                # Not the connection that mends itself: what was under way must be read from the cursor again.
                self._connection = await aio_pika.connect(
                    options.url,
                    ssl_context=None if ca_file is None else trusting(ca_file),
                    client_properties={"connection_name": f"saldo, epoch {lease.epoch}"},
                )
                channel = await self._connection.channel(
                    publisher_confirms=True, on_return_raises=False
                )
                self._exchange = (
                    await channel.declare_exchange(
                        options.exchange, aio_pika.ExchangeType.TOPIC, durable=True
                    )
                    if options.declare
                    else await channel.get_exchange(options.exchange)
                )
        except _FAULTS as error:
            raise SinkError(f"RabbitMQ: {_one_line(error)}") from error

    async def publish(self, events: Sequence[Event]) -> int:
        """See `Sink.publish`."""
        assert self._exchange is not None
        exchange = self._exchange
        publishing = [
            asyncio.ensure_future(
                exchange.publish(_message(event), event.routing_key, mandatory=True)
            )
            for event in events
        ]
        try:
            confirmations = await asyncio.gather(*publishing)
        except _FAULTS as error:
            raise SinkError(f"RabbitMQ: {_one_line(error)}") from error
        finally:
            for task in publishing:
                task.cancel()
            await asyncio.gather(*publishing, return_exceptions=True)
        # A returned message stands where the confirmation of the others does.
        return sum(isinstance(each, DeliveredMessage) for each in confirmations)

    async def close(self) -> None:
        """See `Sink.close`."""
        connection, self._connection, self._exchange = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(*_FAULTS, asyncio.CancelledError):
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await connection.close()


def _message(event: Event) -> aio_pika.Message:
    return aio_pika.Message(
        event.body,
        content_type=CONTENT_TYPE,
        message_id=event.id,
        type=event.type,
        app_id="saldo",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
