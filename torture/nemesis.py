"""The nemesis: injects faults at random from the seed, and measures how long the services need to recover."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import msgspec

from torture.clients import SharedState, request_body
from torture.connection import RequestFailedError, open_connection
from torture.faults.fault import Fault
from torture.history import Post
from torture.world.consumers import STREAM, Consumers
from torture.world.world import World

AVAILABLE_SECONDS_MAX = 60.0
"""Time within which a service must answer after a fault, in seconds. A slower recovery counts as a failure."""

DELIVERY_SECONDS_MAX = 120.0

PROBE_SECONDS = 0.1
"""Interval between two probes of one service, in seconds; each probe uses a new connection."""

PROBE_ANSWER_SECONDS_MAX = 30.0

PAUSE_SECONDS = (0.2, 1.2)
"""Shortest and longest pause between two faults, in seconds."""

PAIR_SHARE = 0.3
"""Share of faults that run together with another one."""

FAULTS = "faults.ndjson"


class InjectedFault(msgspec.Struct):
    """One fault that was injected, and the recovery from it.

    Attributes:
        began: the time of its begin, in seconds by the clock of the history.
        ended: the time of its end, in seconds by the same clock.
        recovery_seconds: seconds from the fault's end (for killed processes, from its begin) until both services had
            answered a POST that was sent after that; None if they did not.
        delivery_recovery_seconds: seconds from the same time until the queue, the webhook and the follower had received
            the event of such a POST.
        unserved_seconds: the longest time in which no client's POST was decided at either service.
    """

    kind: str
    what: str
    concurrent_with: str
    began: float
    ended: float = 0.0
    recovery_seconds: float | None = None
    delivery_recovery_seconds: float | None = None
    unserved_seconds: float = 0.0


class Nemesis:
    """An injector that runs one fault after the other, or two at a time, with pauses between them."""

    def __init__(
        self,
        world: World,
        board: SharedState,
        consumers: Consumers | None,
        seed: str,
        say: Callable[[str], None],
    ) -> None:
        """Create the injector.

        Args:
            consumers: None if the recovery of the consumers is not measured.
        """
        self._world = world
        self._board = board
        self._consumers = consumers
        self._random = random.Random(seed)
        self._say = say
        self._delivery_measurements: list[asyncio.Task[None]] = []
        self.happened: list[InjectedFault] = []

    async def run(self, kinds: Sequence[type[Fault]], seconds: float) -> None:
        """Inject every kind of fault once, in an order from the seed, and repeat this in other orders until the time is
        over. The first round is always completed."""
        deadline = time.monotonic() + seconds
        left = self._random.sample(kinds, len(kinds))
        first_round = True
        while left and (first_round or time.monotonic() < deadline):
            together = [left.pop()]
            if self._random.random() < PAIR_SHARE:
                fitting = [each for each in left if not each.affects & together[0].affects]
                if fitting:
                    together.append(self._random.choice(fitting))
                    left.remove(together[1])
            # Each fault has its own random source, so that its draws don't change the faults that come after it.
            sources = [random.Random(self._random.getrandbits(64)) for _ in together]
            await self._inject(
                [kind(self._world, own) for kind, own in zip(together, sources, strict=True)]
            )
            await asyncio.sleep(self._random.uniform(*PAUSE_SECONDS))
            if not left and time.monotonic() < deadline:
                first_round = False
                left = self._random.sample(kinds, len(kinds))
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))

    async def finish(self) -> None:
        """Wait for the measurements that are still running."""
        await asyncio.gather(*self._delivery_measurements)

    async def _inject(self, faults: Sequence[Fault]) -> None:
        names = [fault.kind for fault in faults]
        await asyncio.gather(
            *(
                self._inject_one(fault, " and ".join(names[:index] + names[index + 1 :]))
                for index, fault in enumerate(faults)
            )
        )

    async def _inject_one(self, fault: Fault, concurrent_with: str) -> None:
        await fault.prepare()
        injected = InjectedFault(fault.kind, fault.target, concurrent_with, time.monotonic())
        self.happened.append(injected)
        what = f" ({fault.target})" if fault.target else ""
        self._say(f"{fault.kind}{what}")
        available: asyncio.Task[bool] | None = None
        try:
            await fault.begin()
            if fault.from_begin:
                available = asyncio.create_task(self._measure_recovery(injected, injected.began))
            await asyncio.sleep(fault.lasts_seconds)
        finally:
            await fault.end()
            injected.ended = time.monotonic()
        if available is None:
            available = asyncio.create_task(self._measure_recovery(injected, injected.ended))
        if not await available:
            self._say(f"{fault.kind}: not available again in {AVAILABLE_SECONDS_MAX:.0f} s")

    async def _measure_recovery(self, injected: InjectedFault, since: float) -> bool:
        """Measure the recovery, and return whether both services answered in time."""
        try:
            async with asyncio.timeout(AVAILABLE_SECONDS_MAX):
                posts = await asyncio.gather(
                    *(self._probe_until_answered(port) for port in self._world.ports)
                )
        except TimeoutError:
            return False
        injected.recovery_seconds = time.monotonic() - since
        injected.unserved_seconds = _longest_gap(
            self._board.answered, injected.began, time.monotonic()
        )
        ids = {post.uuid for post in posts}
        if self._consumers is not None:
            told = self._measure_delivery(self._consumers, injected, ids, since)
            self._delivery_measurements.append(asyncio.create_task(told))
        return True

    async def _measure_delivery(
        self, consumers: Consumers, injected: InjectedFault, ids: set[str], since: float
    ) -> None:
        names = [name for name in consumers.names if name != STREAM]
        with suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_SECONDS_MAX):
                while any(ids - consumers.seen[name] for name in names):
                    await asyncio.sleep(0.02)
            injected.delivery_recovery_seconds = time.monotonic() - since

    async def _probe_until_answered(self, port: int) -> Post:
        """Send probes at a fixed interval, without waiting for earlier ones, until one of them is answered 200."""
        found: asyncio.Future[Post] = asyncio.get_running_loop().create_future()
        probes: set[asyncio.Task[None]] = set()
        try:
            while not found.done():
                task = asyncio.create_task(self._probe(port, found))
                probes.add(task)
                task.add_done_callback(probes.discard)
                await asyncio.wait({found}, timeout=PROBE_SECONDS)
            return found.result()
        finally:
            for task in [*probes]:
                task.cancel()
            await asyncio.gather(*probes, return_exceptions=True)

    async def _probe(self, port: int, found: asyncio.Future[Post]) -> None:
        post = Post(str(uuid4()), self._board.users[-1], "DEPOSIT", "0.01")
        client = next(self._board.numbers)
        invoked = time.monotonic()
        answer = None
        try:
            async with open_connection(port, PROBE_ANSWER_SECONDS_MAX) as asked:
                answer = await asked.post("/v1/transaction", request_body(post))
        except RequestFailedError:
            pass
        finally:
            self._board.record(client, invoked, post, answer)
        if answer is not None and answer.status == 200 and not found.done():
            found.set_result(post)


def write(happened: Sequence[InjectedFault], directory: Path) -> None:
    """Write the faults, one per line."""
    (directory / FAULTS).write_bytes(msgspec.json.Encoder().encode_lines(happened))


def load(directory: Path) -> list[InjectedFault]:
    """Read the faults of a run."""
    return msgspec.json.Decoder(InjectedFault).decode_lines((directory / FAULTS).read_bytes())


def _longest_gap(moments: Sequence[float], begin: float, end: float) -> float:
    inside = [moment for moment in moments if begin <= moment <= end]
    edges = [begin, *inside, end]
    return max(later - earlier for earlier, later in pairwise(edges))
