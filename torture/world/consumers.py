"""Consumers of every event: a queue, a webhook's receiver, a follower, and a stream that is read at the end."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

import aio_pika
from rstream import (
    AMQPMessage,
    Consumer,
    ConsumerOffsetSpecification,
    MessageContext,
    OffsetType,
    amqp_decoder,
)

from harness.events.consumers import consume_queue
from harness.events.rabbitmq import Broker
from harness.events.subscribers import Subscriber
from harness.events.webhook_receiver import (
    OK,
    ReceivedRequest,
    Receiver,
    build_response,
    run_receiver,
)
from torture.connection import open_connection
from torture.history import Delivery, Recorder
from torture.world.services import Service

EXCHANGE = "saldo"
QUEUE, WEBHOOK, LIVE, STREAM = "queue", "webhook", "live", "stream"
NAMES = (QUEUE, WEBHOOK, LIVE, STREAM)

HEARTBEAT_SECONDS = 10
SILENCE_SECONDS_MAX = 10
"""Time without data after which a follower reconnects, in seconds. The service sends heartbeats more often."""

ANSWER_SECONDS_MAX = 0.03
"""Longest response time of the webhook's receiver, in seconds.

Because of this delay, a delivery is nearly always in progress when a relay is killed. The events of a user are
delivered one at a time. With twice this delay, the events of the busiest users were produced faster than they were
delivered.
"""

RECONNECT_SECONDS = 0.2
"""Pause before a consumer reconnects after a lost connection, in seconds."""


class Consumers:
    """All consumers, and the events that they have received."""

    def __init__(
        self, recorder: Recorder, broker: Broker | None, services: Sequence[Service], seed: str
    ) -> None:
        """Create the consumers; they connect in `start`.

        Args:
            broker: the broker, or None. Without a broker, there are no consumers of a queue and of a stream.
        """
        self._recorder = recorder
        self._broker = broker
        self.names = (WEBHOOK, LIVE) if broker is None else NAMES
        self._services = services
        self._random = random.Random(seed)
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.seen: dict[str, set[str]] = {name: set() for name in NAMES}
        """Ids of the received events, by consumer."""
        self.deliveries: Counter[str] = Counter()

    async def start(self) -> None:
        """Start all consumers. Call it before the first event."""
        if self._broker is not None:
            async with consume_queue(self._broker.url, EXCHANGE, name=QUEUE):
                pass  # the queue stays
            self._tasks.append(asyncio.create_task(self._read_queue(self._broker.url)))
        receiver = await self._stack.enter_async_context(run_receiver())
        receiver.behave = self._receive
        await self._subscribe(receiver)
        self._tasks.append(asyncio.create_task(self._follow()))

    async def read_stream(self, recorded: set[str], seconds: float) -> None:
        """Read the stream from its beginning, until it has delivered every recorded transaction or the time is over."""
        found: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: AMQPMessage, _: MessageContext) -> None:
            body = message.body
            found.put_nowait(body if isinstance(body, bytes) else b"".join(body))

        assert self._broker is not None
        parts = urlsplit(self._broker.stream_url)
        consumer = Consumer(
            parts.hostname or "", parts.port or 0, username="guest", password="guest", vhost="/"
        )
        await consumer.start()
        first = ConsumerOffsetSpecification(OffsetType.FIRST)
        await consumer.subscribe(EXCHANGE, take, decoder=amqp_decoder, offset_specification=first)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    missing = recorded - self.seen[STREAM]
                    while missing:
                        event = json.loads(await found.get())
                        self._record(STREAM, event)
                        missing.discard(event["id"])
        finally:
            await consumer.close()

    async def stop(self) -> None:
        """Disconnect all consumers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def _record(self, consumer: str, event: dict[str, Any]) -> None:
        self._recorder.add(Delivery(consumer, event))
        self.deliveries[consumer] += 1
        if "number" in event["data"]:
            self.seen[consumer].add(event["id"])

    async def _receive(self, request: ReceivedRequest) -> bytes:
        self._record(WEBHOOK, request.event)
        await asyncio.sleep(self._random.random() * ANSWER_SECONDS_MAX)
        # Sometimes the receiver fails after it has recorded the event, so that the event is redelivered.
        return OK if self._random.random() > 0.01 else build_response(503)

    async def _subscribe(self, receiver: Receiver) -> None:
        async with open_connection(self._services[0].port, 30) as asked:
            created = await asked.post("/v1/webhook", {"url": receiver.url})
            if created.status != 201:
                raise RuntimeError(created.body)

    async def _read_queue(self, url: str) -> None:
        while True:
            with suppress(aio_pika.exceptions.AMQPError, OSError, RuntimeError):
                async with await aio_pika.connect(url, heartbeat=HEARTBEAT_SECONDS) as made:
                    channel = await made.channel()
                    await channel.set_qos(prefetch_count=1000)
                    read = await channel.get_queue(QUEUE)
                    async with read.iterator() as messages:
                        async for message in messages:
                            self._record(QUEUE, json.loads(message.body))
                            await message.ack()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _follow(self) -> None:
        """Follow the live stream, switching services on every reconnect.

        The follower restarts from the beginning if its position is gone.
        """
        last = ""
        for service in cycle(self._services):
            url = f"http://127.0.0.1:{service.clients.port}"
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, StopAsyncIteration):
                async with (
                    asyncio.timeout(SILENCE_SECONDS_MAX) as limit,
                    Subscriber(url, "from=start", last) as subscriber,
                ):
                    if subscriber.status == 410:
                        last = ""
                    while subscriber.status == 200:
                        block = await subscriber.block()
                        if block.data is not None:
                            self._record(LIVE, block.data)
                        last = block.id
                        limit.reschedule(asyncio.get_running_loop().time() + SILENCE_SECONDS_MAX)
            await asyncio.sleep(RECONNECT_SECONDS)
