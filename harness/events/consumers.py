"""Consumers of events, as other services would implement them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue


class ReceivedEvents:
    """The events that a consumer has received, without redeliveries, and all faults found in them."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.duplicates = 0
        self._ids: dict[str, dict[str, Any]] = {}
        self._numbers: dict[int, int] = {}
        self.faults: list[str] = []

    def take(self, event: dict[str, Any]) -> None:
        """Add one delivery. A missing number is a fault, and so is a repeated number with another id."""
        before = self._ids.setdefault(event["id"], event)
        if before is not event:
            self.duplicates += 1
            if before != event:
                self.faults.append(f"{event['id']} is not what it was")
            return
        self.events.append(event)
        if "number" not in event["data"]:
            return  # a notice, which belongs to no user
        user, number = int(event["subject"]), event["data"]["number"]
        expected = self._numbers.get(user, -1) + 1
        if number != expected:
            self.faults.append(f"user {user}: number {number} where {expected} was due")
        self._numbers[user] = number


class QueueConsumer:
    """A durable queue bound to the exchange, read with acknowledgements."""

    def __init__(self, queue: AbstractQueue) -> None:
        self._queue = queue
        self.last: AbstractIncomingMessage | None = None

    async def drain(self, received: ReceivedEvents) -> None:
        """Take all events that are in the queue now."""
        while (message := await self._queue.get(fail=False, no_ack=True)) is not None:
            received.take(json.loads(message.body))

    async def take_until(
        self, received: ReceivedEvents, count: int, *, seconds: float = 60
    ) -> None:
        """Take events until `count` different ones have arrived."""
        if len(received.events) >= count:
            return
        async with asyncio.timeout(seconds), self._queue.iterator() as messages:
            async for message in messages:
                self.last = message
                received.take(json.loads(message.body))
                await message.ack()
                if len(received.events) >= count:
                    return
        raise ConnectionError("the queue has ended")


@asynccontextmanager
async def consume_queue(
    url: str, exchange: str, binding: str = "user.#", *, name: str | None = None
) -> AsyncIterator[QueueConsumer]:
    """Yield a consumer of the exchange's events with matching routing keys. A queue with a given name is kept
    afterwards; any other is deleted."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1000)
        topic = await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)
        bound = await channel.declare_queue(name or f"saldo-test-{uuid4()}", durable=True)
        await bound.bind(topic, binding)
        yield QueueConsumer(bound)
        if name is None:
            await bound.delete(if_unused=False, if_empty=False)


async def read_stream(url: str, stream: str, count: int, *, seconds: float = 60) -> list[Any]:
    """Return the first `count` events of a stream, including repeated ones."""
    from urllib.parse import urlsplit

    from rstream import (
        AMQPMessage,
        Consumer,
        ConsumerOffsetSpecification,
        MessageContext,
        OffsetType,
        amqp_decoder,
    )

    parts = urlsplit(url)
    found: asyncio.Queue[Any] = asyncio.Queue()

    async def take(message: AMQPMessage, _: MessageContext) -> None:
        assert message.properties is not None
        assert message.properties.content_type == b"application/cloudevents+json"
        body = message.body if isinstance(message.body, bytes) else b"".join(message.body)
        await found.put(json.loads(body))

    consumer = Consumer(
        parts.hostname or "localhost",
        parts.port or 5552,
        username=parts.username or "guest",
        password=parts.password or "guest",
        vhost="/",
    )
    await consumer.start()
    try:
        await consumer.subscribe(
            stream,
            take,
            decoder=amqp_decoder,
            offset_specification=ConsumerOffsetSpecification(OffsetType.FIRST),
        )
        async with asyncio.timeout(seconds):
            return [await found.get() for _ in range(count)]
    finally:
        await consumer.close()
