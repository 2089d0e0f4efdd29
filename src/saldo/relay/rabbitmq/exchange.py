"""A topic exchange of RabbitMQ as a sink: one persistent message per event, with publisher confirms."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange
from aiormq.abc import DeliveredMessage

from saldo.events.event import CONTENT_TYPE, Event
from saldo.relay.sink import CLOSE_SECONDS_MAX, SinkError, create_tls_context
from saldo.store.sinks import SinkLease

CONNECT_SECONDS_MAX = 10.0
CLOSE_SECONDS_BLOCKED_MAX = 0.2
"""Maximum time for closing a blocked connection. The broker reads nothing from such a connection, so it would not
confirm the close."""
BLOCKED = "RabbitMQ accepts no messages: it is low on memory or disk (see rabbitmqctl list_alarms)"
NAME = "rabbitmq-exchange"

_FAULTS = (aio_pika.exceptions.AMQPError, OSError, TimeoutError, RuntimeError, ValueError)
"""Exceptions that the client raises for errors of the protocol, the network, a closed connection, and the URL."""


@dataclass(frozen=True, slots=True)
class ExchangeOptions:
    """The address of an exchange.

    Attributes:
        url: amqp:// or amqps://, with user, password and virtual host.
        declare: whether the sink creates the exchange. Otherwise the exchange must exist.
        ca_file: the certificate authorities that are trusted; None means those that the system trusts.
    """

    url: str
    exchange: str
    declare: bool
    ca_file: Path | None = None


class ExchangeSink:
    """The sink of an exchange. All messages of a batch are sent on one channel without waiting for confirmations in
    between, and keep their order."""

    def __init__(self, options: ExchangeOptions) -> None:
        self._options = options
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None

    @property
    def name(self) -> str:
        return NAME

    async def open(self, lease: SinkLease) -> None:
        """See `Sink.open`."""
        options, ca_file = self._options, self._options.ca_file
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                # `connect_robust` is not used, because after a reconnect unconfirmed events must be read from the
                # cursor again.
                self._connection = await aio_pika.connect(
                    options.url,
                    ssl_context=None if ca_file is None else create_tls_context(ca_file),
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
            raise SinkError(f"RabbitMQ: {_extract_first_line(error)}") from error

    async def publish(self, events: Sequence[Event]) -> int:
        """See `Sink.publish`."""
        assert self._exchange is not None
        exchange = self._exchange
        publishing = [
            asyncio.ensure_future(
                exchange.publish(_build_message(event), event.routing_key, mandatory=True)
            )
            for event in events
        ]
        try:
            confirmations = await asyncio.gather(*publishing)
        except _FAULTS as error:
            raise SinkError(f"RabbitMQ: {_extract_first_line(error)}") from error
        finally:
            for task in publishing:
                task.cancel()
            await asyncio.gather(*publishing, return_exceptions=True)
        # For a message that was returned as unroutable, the result is that message instead of a confirmation.
        return sum(isinstance(each, DeliveredMessage) for each in confirmations)

    async def get_blocked_reason(self) -> str | None:
        """See `Sink.get_blocked_reason`. A broker that blocks sends `connection.blocked` to the connections that
        publish."""
        transport = None if self._connection is None else self._connection.transport
        if transport is None:
            return None
        try:
            async with asyncio.timeout(0):
                await transport.ready()
        except TimeoutError:
            return BLOCKED
        return None

    async def close(self) -> None:
        """See `Sink.close`."""
        seconds = (
            CLOSE_SECONDS_MAX
            if await self.get_blocked_reason() is None
            else CLOSE_SECONDS_BLOCKED_MAX
        )
        connection, self._connection, self._exchange = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(*_FAULTS, asyncio.CancelledError):
                async with asyncio.timeout(seconds):
                    await connection.close()


def _build_message(event: Event) -> aio_pika.Message:
    return aio_pika.Message(
        event.body,
        content_type=CONTENT_TYPE,
        message_id=event.id,
        type=event.type,
        app_id="saldo",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


def _extract_first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
