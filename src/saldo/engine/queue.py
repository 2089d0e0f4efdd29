"""The queue of the engine, in which requests wait by groups of shards until a lane takes them as a batch.

While few requests wait, one lane takes all of them, because one batch costs the database less than several small ones.
While many wait, each lane takes only as many groups as fill half of a batch, so that several lanes work in parallel. No
two lanes hold the same group. The lanes of a process therefore never wait for each other's locks, and the requests of a
user are posted in the order in which they were queued.

On a distributed ledger a batch contains one shard. A group is then a shard, and a lane takes the group whose oldest
request has waited longest. Each lane is assigned to one of the nodes and takes only the shards of that node, so that an
unreachable node does not delay the shards of other nodes. A shard that can't be reached is retried after a backoff, and
the lane meanwhile continues with the next shard.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from saldo.engine.pending import PendingRequest
from saldo.ledger.model import shard_of
from saldo.observability.metrics import QUEUE_WAIT
from saldo.store.citus.placement import Node

BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 1.0
"""Maximum backoff of a shard that could not be reached. It is short, so that the shard is used soon after it is
available again."""


class Group:
    """The waiting requests of a group of shards, oldest first. The number of each shard, modulo the number of groups,
    is the number of its group."""

    __slots__ = ("backoff_seconds", "claimed", "deferred_at", "node_index", "requests", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[PendingRequest] = deque()
        self.requests = 0
        self.claimed = False
        self.backoff_seconds = 0.0
        """The group's last backoff, in seconds; 0 if the group has been reached since."""
        self.node_index = 0
        """The index of the group's node in the queue's nodes."""
        self.deferred_at = 0.0
        """The time at which a batch last left requests of the group undecided (`time.monotonic`)."""

    @property
    def turn(self) -> float:
        """The time by which groups are ordered; the group with the earliest time is taken next. It is the time of the
        group's oldest request or of its last deferral, whichever is later."""
        return max(self.waiting[0].queued_at, self.deferred_at)


@dataclass(frozen=True, slots=True)
class Batch:
    """The requests that a lane has taken, the groups that the lane has claimed, and the node of these groups. If the
    node is None, the batch goes to the configured database."""

    waiting: list[PendingRequest]
    groups: list[Group]
    node: Node | None


class RequestQueue:
    """The waiting requests, and the lanes that wait for requests."""

    def __init__(
        self,
        *,
        groups: int,
        batch_requests_max: int,
        parallel_lanes_requests_min: int,
        one_group: bool = False,
    ) -> None:
        """
        Args:
            one_group: Whether a batch contains one group only.
        """
        self.one_group = one_group
        self._groups = [Group() for _ in range(groups)]
        self._batch_requests_max = batch_requests_max
        self._split_requests_min = parallel_lanes_requests_min
        self._long_requests_min = max(parallel_lanes_requests_min, batch_requests_max // 2)
        self._nodes: list[Node | None] = [None]
        self._lanes = 0
        self._idle: defaultdict[int, deque[asyncio.Future[None]]] = defaultdict(deque)
        self._growing: dict[asyncio.Future[None], int] = {}
        """The lanes that linger, each with the number of requests for which it waits."""
        self._closed = False
        self.requests = 0
        """Number of requests that wait for a batch, expired ones included."""
        self.contended = False
        """True while other processes hold the locks of the shards. Lanes then form fewer and larger batches, because
        each further batch would only wait for locks."""

    def set_nodes(self, nodes: Sequence[Node | None]) -> None:
        """Set the node of each group, and assign the lanes to the nodes again; None means the configured database."""
        self._nodes = sorted(set(nodes), key=lambda node: node or ("", 0))
        for group, node in zip(self._groups, nodes, strict=True):
            group.node_index = self._nodes.index(node)
        for node_index in [*self._idle]:
            while self._wake_one(node_index):
                pass

    @property
    def node_count(self) -> int:
        """The number of nodes that have groups."""
        return len(self._nodes)

    def register_lane(self) -> int:
        """Register a lane and return its number."""
        self._lanes += 1
        return self._lanes - 1

    def put(self, waiting: PendingRequest, group_number: int = 0) -> None:
        """Queue a request that the engine has admitted."""
        group = self._groups[group_number]
        group.waiting.append(waiting)
        group.requests += len(waiting.requests)
        self.requests += len(waiting.requests)
        if not group.claimed:
            self._wake_one(group.node_index)
        elif self._growing:
            for grown, requests in self._growing.items():
                if self.requests >= requests:
                    _wake(grown)

    def put_back(self, deferred: Sequence[PendingRequest]) -> None:
        """Put the undecided requests of a batch back at the head of their groups, in their order."""
        for waiting in reversed(deferred):
            number = shard_of(waiting.requests[0].user_id) % len(self._groups)
            group = self._groups[number]
            group.waiting.appendleft(waiting)
            group.deferred_at = time.monotonic()
            group.requests += len(waiting.requests)
            self.requests += len(waiting.requests)

    async def wait_for_growth(self, requests: int, seconds: float) -> None:
        """Wait until the queue has enough requests, the time is over, or the queue is closed."""
        enough = min(requests, self._long_requests_min)
        if self.requests >= enough or self._closed:
            return
        loop = asyncio.get_running_loop()
        grown: asyncio.Future[None] = loop.create_future()
        self._growing[grown] = enough
        timer = loop.call_later(seconds, _wake, grown)
        try:
            await grown
        finally:
            timer.cancel()
            del self._growing[grown]

    async def take(self, lane: int = 0) -> Batch | None:
        """Wait for the next batch of a lane. Return None when the queue is closed and empty."""
        while True:
            node_index = lane % len(self._nodes)
            batch = self._claim(node_index)
            if batch is not None:
                return batch
            if self._closed and not self.requests:
                return None
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle[node_index].append(woken)
            await woken

    def release(self, batch: Batch) -> None:
        """Release the groups of a batch that is finished."""
        for group in batch.groups:
            group.claimed = False
            group.backoff_seconds = 0.0
            if group.requests and self._nodes[group.node_index] != batch.node:
                # The group belongs to another node now, so one of the lanes of that node must take it.
                self._wake_one(group.node_index)
        if self._closed:
            # Lanes that wait for a claimed group are woken, because they must end if the queue is empty.
            self.close()

    def requeue_after_backoff(self, batch: Batch) -> None:
        """Put the undecided requests of a one-group batch back in their order, and keep the group claimed during its
        backoff."""
        (group,) = batch.groups
        left = [waiting for waiting in batch.waiting if not waiting.decided.done()]
        group.waiting.extendleft(reversed(left))
        requests = sum(len(waiting.requests) for waiting in left)
        group.requests += requests
        self.requests += requests
        seconds = min(max(BACKOFF_SECONDS_MIN, 2 * group.backoff_seconds), BACKOFF_SECONDS_MAX)
        group.backoff_seconds = seconds
        # Jitter prevents the lanes of many processes from retrying at the same time.
        asyncio.get_running_loop().call_later(
            seconds * random.uniform(0.5, 1),  # noqa: S311
            self._end_backoff,
            group,
        )

    def _end_backoff(self, group: Group) -> None:
        group.claimed = False
        if self._closed:
            self.close()
        else:
            self._wake_one(group.node_index)

    def close(self) -> None:
        """Close the queue, so that the lanes end when no request waits."""
        self._closed = True
        for grown in self._growing:
            _wake(grown)
        for node_index in [*self._idle]:
            while self._wake_one(node_index):
                pass

    def take_all(self) -> list[PendingRequest]:
        """Remove and return all waiting requests."""
        remaining = [waiting for group in self._groups for waiting in group.waiting]
        for group in self._groups:
            group.waiting.clear()
            group.requests = 0
        self.requests = 0
        return remaining

    def _wake_one(self, node_index: int) -> bool:
        """Wake an idle lane of a node. Return False if there is none."""
        idle = self._idle[node_index]
        while idle:
            if _wake(idle.popleft()):
                return True
        return False

    def _claim(self, node_index: int) -> Batch | None:
        free = [
            group for group in self._groups if not group.claimed and group.node_index == node_index
        ]
        filled = [group for group in free if group.requests]
        if not filled:
            return None
        if self.one_group:
            free = filled = [min(filled, key=lambda group: group.turn)]
        split_min = self._long_requests_min if self.contended else self._split_requests_min
        if not self.one_group and sum(group.requests for group in filled) >= split_min:
            free = filled = _select_fewest_groups(filled, split_min // 2)
        # The order is by age. A deferred request is the oldest of its group, and a batch always checks its first late
        # withdrawal. Late withdrawals of one group therefore can't defer those of another group repeatedly.
        filled.sort(key=lambda group: group.waiting[0].queued_at)
        space = self._batch_requests_max
        taken: list[PendingRequest] = []
        for group in filled:
            space -= self._move(group, space, taken)
        if not taken:
            return self._claim(node_index)  # all of them had expired
        for group in free:
            group.claimed = True
        QUEUE_WAIT.observe(time.monotonic() - min(waiting.queued_at for waiting in taken))
        if self.requests and len(free) < len(self._groups):
            self._wake_one(node_index)
        return Batch(taken, free, self._nodes[node_index])

    def _move(self, group: Group, space: int, taken: list[PendingRequest]) -> int:
        """Move unexpired requests from a group into a batch, up to its limit. Return the part of the limit that they
        take."""
        moved = 0
        while group.waiting:
            waiting = group.waiting[0]
            count = len(waiting.requests)
            # A deferred request counts as half a request, so that deferred ones fill at most half of the batch.
            # Otherwise the other requests would wait for batches full of late withdrawals.
            size = count if waiting.known is None else (count + 1) // 2
            if taken and moved + size > space:
                break
            group.waiting.popleft()
            group.requests -= count
            self.requests -= count
            if not waiting.is_done:
                taken.append(waiting)
                moved += size
        return moved


def _select_fewest_groups(groups: list[Group], requests: int) -> list[Group]:
    """Return the fewest groups that together have at least `requests` requests, the largest group first."""
    taken: list[Group] = []
    for group in sorted(groups, key=lambda group: group.requests, reverse=True):
        taken.append(group)
        requests -= group.requests
        if requests <= 0:
            break
    return taken


def _wake(waiting: asyncio.Future[None]) -> bool:
    """Wake a waiting lane by its future. Return False if the future is already done."""
    if waiting.done():
        return False
    waiting.set_result(None)
    return True
