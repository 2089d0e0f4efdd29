"""Who does the faults: at random, from the seed; and how long the service needs after each of them."""

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

from torture.clients import Board, content
from torture.connection import NoAnswerError, connection
from torture.faults.fault import Fault
from torture.history import Post
from torture.world.consumers import STREAM, Consumers
from torture.world.world import World

AVAILABLE_SECONDS_MAX = 60.0
"""A service that takes longer than this to answer after a fault has not survived it."""

TOLD_SECONDS_MAX = 120.0

PROBE_SECONDS = 0.1
"""Between two probes of one service: each is a connection of its own."""

PROBE_ANSWER_SECONDS_MAX = 30.0

CALM_SECONDS = (0.2, 1.2)
"""Between two faults."""

PAIRS = 0.3
"""The share of faults that are accompanied by another."""

FAULTS = "faults.ndjson"


class Happened(msgspec.Struct):
    """One fault, as it went.

    Attributes:
        began: seconds of the clock of the history.
        ended: of the same.
        again_seconds: from its end (of what is killed: from its begin) until both services have answered a POST that
            was sent after that; None: they have not.
        told_again_seconds: the same, until queue, webhook and follower have got the event of such a POST.
        unserved_seconds: the longest time in which no client's POST was decided, at either service.
    """

    kind: str
    what: str
    beside: str
    began: float
    ended: float = 0.0
    again_seconds: float | None = None
    told_again_seconds: float | None = None
    unserved_seconds: float = 0.0


class Nemesis:
    """Does one fault after the other, or two at a time, with calm between."""

    def __init__(
        self,
        world: World,
        board: Board,
        consumers: Consumers | None,
        seed: str,
        say: Callable[[str], None],
    ) -> None:
        """
        Args:
            consumers: None: it is not measured when they are told again.
        """
        self._world = world
        self._board = board
        self._consumers = consumers
        self._random = random.Random(seed)
        self._say = say
        self._told: list[asyncio.Task[None]] = []
        self.happened: list[Happened] = []

    async def run(self, kinds: Sequence[type[Fault]], seconds: float) -> None:
        """Every kind once, in an order from the seed; then again in another one, until the time is over."""
        deadline = time.monotonic() + seconds
        left = self._random.sample(kinds, len(kinds))
        first_round = True
        while left and (first_round or time.monotonic() < deadline):
            together = [left.pop()]
            if self._random.random() < PAIRS:
                fitting = [each for each in left if not each.touches & together[0].touches]
                if fitting:
                    together.append(self._random.choice(fitting))
                    left.remove(together[1])
            # Each with a source of its own: what one draws, and when, must not change what comes after it.
            sources = [random.Random(self._random.getrandbits(64)) for _ in together]
            await self._do(
                [kind(self._world, own) for kind, own in zip(together, sources, strict=True)]
            )
            await asyncio.sleep(self._random.uniform(*CALM_SECONDS))
            if not left and time.monotonic() < deadline:
                first_round = False
                left = self._random.sample(kinds, len(kinds))
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))

    async def finish(self) -> None:
        """Waits for what is still measured."""
        await asyncio.gather(*self._told)

    async def _do(self, faults: Sequence[Fault]) -> None:
        names = [fault.kind for fault in faults]
        await asyncio.gather(
            *(
                self._do_one(fault, " and ".join(names[:index] + names[index + 1 :]))
                for index, fault in enumerate(faults)
            )
        )

    async def _do_one(self, fault: Fault, beside: str) -> None:
        await fault.prepare()
        one = Happened(fault.kind, fault.what, beside, time.monotonic())
        self.happened.append(one)
        what = f" ({fault.what})" if fault.what else ""
        self._say(f"{fault.kind}{what}")
        available: asyncio.Task[bool] | None = None
        try:
            await fault.begin()
            if fault.from_begin:
                available = asyncio.create_task(self._until_available(one, one.began))
            await asyncio.sleep(fault.lasts_seconds)
        finally:
            await fault.end()
            one.ended = time.monotonic()
        if available is None:
            available = asyncio.create_task(self._until_available(one, one.ended))
        if not await available:
            self._say(f"{fault.kind}: not available again in {AVAILABLE_SECONDS_MAX:.0f} s")

    async def _until_available(self, one: Happened, since: float) -> bool:
        """Measures; whether both services were available in time."""
        try:
            async with asyncio.timeout(AVAILABLE_SECONDS_MAX):
                posts = await asyncio.gather(*(self._answered(port) for port in self._world.ports))
        except TimeoutError:
            return False
        one.again_seconds = time.monotonic() - since
        one.unserved_seconds = _longest_gap(self._board.answered, one.began, time.monotonic())
        ids = {post.uuid for post in posts}
        if self._consumers is not None:
            told = self._until_told(self._consumers, one, ids, since)
            self._told.append(asyncio.create_task(told))
        return True

    async def _until_told(
        self, consumers: Consumers, one: Happened, ids: set[str], since: float
    ) -> None:
        names = [name for name in consumers.names if name != STREAM]
        with suppress(TimeoutError):
            async with asyncio.timeout(TOLD_SECONDS_MAX):
                while any(ids - consumers.seen[name] for name in names):
                    await asyncio.sleep(0.02)
            one.told_again_seconds = time.monotonic() - since

    async def _answered(self, port: int) -> Post:
        """A probe after the other, none waiting for the one before, until one of them is answered 200."""
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
            async with connection(port, PROBE_ANSWER_SECONDS_MAX) as asked:
                answer = await asked.post("/v1/transaction", content(post))
        except NoAnswerError:
            pass
        finally:
            self._board.record(client, invoked, post, answer)
        if answer is not None and answer.status == 200 and not found.done():
            found.set_result(post)


def write(happened: Sequence[Happened], directory: Path) -> None:
    """The faults, a line each."""
    (directory / FAULTS).write_bytes(msgspec.json.Encoder().encode_lines(happened))


def load(directory: Path) -> list[Happened]:
    """The faults of a run."""
    return msgspec.json.Decoder(Happened).decode_lines((directory / FAULTS).read_bytes())


def _longest_gap(moments: Sequence[float], begin: float, end: float) -> float:
    inside = [moment for moment in moments if begin <= moment <= end]
    edges = [begin, *inside, end]
    return max(later - earlier for earlier, later in pairwise(edges))
