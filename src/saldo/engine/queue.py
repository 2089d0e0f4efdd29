"""The queue of the engine: requests wait by groups of shards until a lane takes them as a batch.

While few wait, one lane takes all there is: one batch costs the database less than several small ones.
When many wait, the database is behind, and each lane takes only as many groups as fill half of that: as
many lanes work side by side as there is work for. No two lanes ever hold the same group, so they never wait
for each other's locks, and what one caller queued for a user is posted in the order in which it was queued.

Where the ledger is distributed a batch is of one shard: then a group is a shard, and a lane takes one of them, that
whose oldest request has waited longest. The lanes are dealt out to the nodes that have the shards, and take no others:
so a node that can't be reached holds up its own shards only. Each of those rests, and the lane goes on with the next.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from saldo.engine.waiting import Waiting
from saldo.observability.metrics import QUEUE_WAIT
from saldo.store.places import Node

REST_SECONDS_MIN = 0.05
REST_SECONDS_MAX = 1.0
"""Of a shard that could not be reached: soon after it is back, without storming it."""


class Group:
    """Requests for the shards `≡ group (mod groups)`, oldest first."""

    __slots__ = ("claimed", "place", "requests", "rest_seconds", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Waiting] = deque()
        self.requests = 0
        self.claimed = False
        self.rest_seconds = 0.0
        """How long it has rested the last time; 0: it has been reached since."""
        self.place = 0
        """Which of the queue's nodes has it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a lane has taken, the groups that it holds meanwhile, and the node that has them; None: the database."""

    waiting: list[Waiting]
    groups: list[Group]
    node: Node | None


class Queue:
    """Waiting requests, and the lanes that wait for some."""

    def __init__(
        self,
        *,
        groups: int,
        batch_requests_max: int,
        split_requests_min: int,
        one_group: bool = False,
    ) -> None:
        """
        Args:
            one_group: a batch is of one group only.
        """
        self.one_group = one_group
        self._groups = [Group() for _ in range(groups)]
        self._batch_requests_max = batch_requests_max
        self._split_requests_min = split_requests_min
        self._long_requests_min = max(split_requests_min, batch_requests_max // 2)
        self._nodes: list[Node | None] = [None]
        self._lanes = 0
        self._idle: defaultdict[int, deque[asyncio.Future[None]]] = defaultdict(deque)
        self._grown: asyncio.Future[None] | None = None
        self._growing_to = 0
        self._closed = False
        self.requests = 0
        """Requests that wait for a batch, given-up ones among them."""
        self.contended = False
        """Whether other processes hold the shards: then more batches would only wait for more locks."""

    def place(self, nodes: Sequence[Node | None]) -> None:
        """Says which node has each group; the lanes are dealt out to them anew. None: the database as it is named."""
        self._nodes = sorted(set(nodes), key=lambda node: node or ("", 0))
        for group, node in zip(self._groups, nodes, strict=True):
            group.place = self._nodes.index(node)
        for place in [*self._idle]:
            while self._wake_one(place):
                pass

    @property
    def places(self) -> int:
        """How many nodes have groups."""
        return len(self._nodes)

    def join(self) -> int:
        """One more lane takes from here: its number."""
        self._lanes += 1
        return self._lanes - 1

    def put(self, waiting: Waiting, group_number: int = 0) -> None:
        """Queues what the engine has found room for."""
        group = self._groups[group_number]
        group.waiting.append(waiting)
        group.requests += len(waiting.requests)
        self.requests += len(waiting.requests)
        if not group.claimed:
            self._wake_one(group.place)
        elif self._grown is not None and self.requests >= self._growing_to:
            _wake(self._grown)

    async def grown(self, requests: int, seconds: float) -> None:
        """Returns when so many wait, or after so long; at once when it closes."""
        self._growing_to = min(requests, self._long_requests_min)
        if self.requests >= self._growing_to or self._closed:
            return
        loop = asyncio.get_running_loop()
        self._grown = loop.create_future()
        timer = loop.call_later(seconds, _wake, self._grown)
        try:
            await self._grown
        finally:
            timer.cancel()
            self._grown = None

    async def take(self, lane: int = 0) -> Batch | None:
        """The next batch for a lane, as soon as there is one; None when the queue is closed and empty."""
        while True:
            place = lane % len(self._nodes)
            batch = self._claim(place)
            if batch is not None:
                return batch
            if self._closed and not self.requests:
                return None
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle[place].append(woken)
            await woken

    def release(self, batch: Batch) -> None:
        """Gives the groups of a batch back: it is seen through."""
        for group in batch.groups:
            group.claimed = False
            group.rest_seconds = 0.0
            if group.requests and self._nodes[group.place] != batch.node:
                # It has moved meanwhile: the lane that asks next takes from elsewhere.
                self._wake_one(group.place)
        if self._closed:
            # Those that wait for groups held by others: perhaps there is nothing left to wait for.
            self.close()

    def rest(self, batch: Batch) -> None:
        """Puts back what of a batch of one group is not decided, in its order; the group is held for a while."""
        (group,) = batch.groups
        left = [waiting for waiting in batch.waiting if not waiting.decided.done()]
        group.waiting.extendleft(reversed(left))
        requests = sum(len(waiting.requests) for waiting in left)
        group.requests += requests
        self.requests += requests
        seconds = min(max(REST_SECONDS_MIN, 2 * group.rest_seconds), REST_SECONDS_MAX)
        group.rest_seconds = seconds
        # Jitter, so that the lanes of many processes don't come back all at once.
        asyncio.get_running_loop().call_later(
            seconds * random.uniform(0.5, 1),  # noqa: S311
            self._rested,
            group,
        )

    def _rested(self, group: Group) -> None:
        group.claimed = False
        if self._closed:
            self.close()
        else:
            self._wake_one(group.place)

    def close(self) -> None:
        """Lets lanes end when nothing waits any more."""
        self._closed = True
        if self._grown is not None:
            _wake(self._grown)
        for place in [*self._idle]:
            while self._wake_one(place):
                pass

    def drain(self) -> list[Waiting]:
        """Everything that still waits; the queue is empty then."""
        left = [waiting for group in self._groups for waiting in group.waiting]
        for group in self._groups:
            group.waiting.clear()
            group.requests = 0
        self.requests = 0
        return left

    def _wake_one(self, place: int) -> bool:
        """Whether there was a lane to wake."""
        idle = self._idle[place]
        while idle:
            if _wake(idle.popleft()):
                return True
        return False

    def _claim(self, place: int) -> Batch | None:
        free = [group for group in self._groups if not group.claimed and group.place == place]
        filled = [group for group in free if group.requests]
        if not filled:
            return None
        if self.one_group:
            free = filled = [min(filled, key=lambda group: group.waiting[0].queued_at)]
        split_min = self._long_requests_min if self.contended else self._split_requests_min
        if not self.one_group and sum(group.requests for group in filled) >= split_min:
            free = filled = _enough(filled, split_min // 2)
        room = self._batch_requests_max
        taken: list[Waiting] = []
        for group in filled:
            room -= self._move(group, room, taken)
        if not taken:
            return self._claim(place)  # all of them had been given up
        for group in free:
            group.claimed = True
        QUEUE_WAIT.observe(time.monotonic() - min(waiting.queued_at for waiting in taken))
        if self.requests and len(free) < len(self._groups):
            self._wake_one(place)
        return Batch(taken, free, self._nodes[place])

    def _move(self, group: Group, room: int, taken: list[Waiting]) -> int:
        """Moves what is still waited for from the group, as far as there is room; how much it was."""
        moved = 0
        while group.waiting:
            waiting = group.waiting[0]
            count = len(waiting.requests)
            if taken and moved + count > room:
                break
            group.waiting.popleft()
            group.requests -= count
            self.requests -= count
            if not waiting.over:
                taken.append(waiting)
                moved += count
        return moved


def _enough(groups: list[Group], requests: int) -> list[Group]:
    """The fullest of them, as many as have so many requests together."""
    taken: list[Group] = []
    for group in sorted(groups, key=lambda group: group.requests, reverse=True):
        taken.append(group)
        requests -= group.requests
        if requests <= 0:
            break
    return taken


def _wake(waiting: asyncio.Future[None]) -> bool:
    """Whether there was somebody to wake."""
    if waiting.done():
        return False
    waiting.set_result(None)
    return True
