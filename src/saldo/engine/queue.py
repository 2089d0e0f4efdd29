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
from saldo.ledger.model import compute_shard
from saldo.observability.metrics import QUEUE_WAIT
from saldo.store.citus.placement import Node

BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 1.0
"""Maximum backoff of a shard that could not be reached. It is short, so that the shard is used soon after it is
available again."""


class ShardGroup:
    """The waiting requests of a group of shards, oldest first. The number of each shard, modulo the number of groups,
    is the number of its group."""

    __slots__ = (
        "backoff_seconds",
        "deferred_at",
        "is_claimed",
        "node_index",
        "pending",
        "requests",
    )

    def __init__(self) -> None:
        self.pending: deque[PendingRequest] = deque()
        self.requests = 0
        self.is_claimed = False
        self.backoff_seconds = 0.0
        """The group's last backoff, in seconds; 0 if the group has been reached since."""
        self.node_index = 0
        """The index of the group's node in the queue's nodes."""
        self.deferred_at = 0.0
        """The time at which a batch last left requests of the group undecided (`time.monotonic`)."""

    @property
    def next_turn_at(self) -> float:
        """The time by which groups are ordered; the group with the earliest time is taken next. It is the time of the
        group's oldest request or of its last deferral, whichever is later."""
        return max(self.pending[0].queued_at, self.deferred_at)


@dataclass(frozen=True, slots=True)
class Batch:
    """The requests that a lane has taken, the groups that the lane has claimed, and the node of these groups. If the
    node is None, the batch goes to the configured database."""

    pending: list[PendingRequest]
    groups: list[ShardGroup]
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
        self._groups = [ShardGroup() for _ in range(groups)]
        self._batch_requests_max = batch_requests_max
        self._split_requests_min = parallel_lanes_requests_min
        self._long_requests_min = max(parallel_lanes_requests_min, batch_requests_max // 2)
        self._nodes: list[Node | None] = [None]
        self._lanes = 0
        self._idle: defaultdict[int, deque[asyncio.Future[None]]] = defaultdict(deque)
        self._growing: dict[asyncio.Future[None], int] = {}
        """The lanes that linger, each with the number of requests for which it waits."""
        self._is_closed = False
        self.requests = 0
        """Number of requests that wait for a batch, expired ones included."""
        self.is_contended = False
        """True while other processes hold the locks of the shards. Lanes then form fewer and larger batches, because
        each further batch would only wait for locks."""

    def assign_groups_to_nodes(self, nodes: Sequence[Node | None]) -> None:
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

    def put(self, pending: PendingRequest, group_number: int = 0) -> None:
        """Queue a request that the engine has admitted."""
        group = self._groups[group_number]
        group.pending.append(pending)
        group.requests += len(pending.requests)
        self.requests += len(pending.requests)
        if not group.is_claimed:
            self._wake_one(group.node_index)
        elif self._growing:
            for grown, requests in self._growing.items():
                if self.requests >= requests:
                    _wake(grown)

    def put_back(self, deferred_requests: Sequence[PendingRequest]) -> None:
        """Put the undecided requests of a batch back at the head of their groups, in their order."""
        for pending in reversed(deferred_requests):
            number = compute_shard(pending.requests[0].user_id) % len(self._groups)
            group = self._groups[number]
            group.pending.appendleft(pending)
            group.deferred_at = time.monotonic()
            group.requests += len(pending.requests)
            self.requests += len(pending.requests)

    async def wait_for_growth(self, requests: int, seconds: float) -> None:
        """Wait until the queue has enough requests, the time is over, or the queue is closed."""
        enough = min(requests, self._long_requests_min)
        if self.requests >= enough or self._is_closed:
            return
        loop = asyncio.get_running_loop()
        growth: asyncio.Future[None] = loop.create_future()
        self._growing[growth] = enough
        timer = loop.call_later(seconds, _wake, growth)
        try:
            await growth
        finally:
            timer.cancel()
            del self._growing[growth]

    async def take_batch(self, lane: int = 0) -> Batch | None:
        """Wait for the next batch of a lane. Return None when the queue is closed and empty."""
        while True:
            node_index = lane % len(self._nodes)
            batch = self._claim_batch(node_index)
            if batch is not None:
                return batch
            if self._is_closed and not self.requests:
                return None
            wakeup: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle[node_index].append(wakeup)
            await wakeup

    def release(self, batch: Batch) -> None:
        """Release the groups of a batch that is finished."""
        for group in batch.groups:
            group.is_claimed = False
            group.backoff_seconds = 0.0
            if group.requests and self._nodes[group.node_index] != batch.node:
                # The group belongs to another node now, so one of the lanes of that node must take it.
                self._wake_one(group.node_index)
        if self._is_closed:
            # Lanes that wait for a claimed group are woken, because they must end if the queue is empty.
            self.close()

    def requeue_after_backoff(self, batch: Batch) -> None:
        """Put the undecided requests of a one-group batch back in their order, and keep the group claimed during its
        backoff."""
        (group,) = batch.groups
        undecided = [pending for pending in batch.pending if not pending.results_future.done()]
        group.pending.extendleft(reversed(undecided))
        requests = sum(len(pending.requests) for pending in undecided)
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

    def _end_backoff(self, group: ShardGroup) -> None:
        group.is_claimed = False
        if self._is_closed:
            self.close()
        else:
            self._wake_one(group.node_index)

    def close(self) -> None:
        """Close the queue, so that the lanes end when no request waits."""
        self._is_closed = True
        for grown in self._growing:
            _wake(grown)
        for node_index in [*self._idle]:
            while self._wake_one(node_index):
                pass

    def take_all_requests(self) -> list[PendingRequest]:
        """Remove and return all waiting requests."""
        remaining = [pending for group in self._groups for pending in group.pending]
        for group in self._groups:
            group.pending.clear()
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

    def _claim_batch(self, node_index: int) -> Batch | None:
        free_groups = [
            group
            for group in self._groups
            if not group.is_claimed and group.node_index == node_index
        ]
        filled_groups = [group for group in free_groups if group.requests]
        if not filled_groups:
            return None
        if self.one_group:
            free_groups = filled_groups = [min(filled_groups, key=lambda group: group.next_turn_at)]
        split_min = self._long_requests_min if self.is_contended else self._split_requests_min
        if not self.one_group and sum(group.requests for group in filled_groups) >= split_min:
            free_groups = filled_groups = _select_fewest_groups(filled_groups, split_min // 2)
        # The order is by age. A deferred request is the oldest of its group, and a batch always checks its first late
        # withdrawal. Late withdrawals of one group therefore can't defer those of another group repeatedly.
        filled_groups.sort(key=lambda group: group.pending[0].queued_at)
        space = self._batch_requests_max
        batch_requests: list[PendingRequest] = []
        for group in filled_groups:
            space -= self._move_requests(group, space, batch_requests)
        if not batch_requests:
            return self._claim_batch(node_index)  # all of them had expired
        for group in free_groups:
            group.is_claimed = True
        QUEUE_WAIT.observe(time.monotonic() - min(pending.queued_at for pending in batch_requests))
        if self.requests and len(free_groups) < len(self._groups):
            self._wake_one(node_index)
        return Batch(batch_requests, free_groups, self._nodes[node_index])

    def _move_requests(
        self, group: ShardGroup, space: int, batch_requests: list[PendingRequest]
    ) -> int:
        """Move unexpired requests from a group into a batch, up to its limit. Return the part of the limit that they
        take."""
        moved_count = 0
        while group.pending:
            pending = group.pending[0]
            count = len(pending.requests)
            # A deferred request counts as half a request, so that deferred ones fill at most half of the batch.
            # Otherwise the other requests would wait for batches full of late withdrawals.
            size = count if pending.known_results is None else (count + 1) // 2
            if batch_requests and moved_count + size > space:
                break
            group.pending.popleft()
            group.requests -= count
            self.requests -= count
            if not pending.is_done:
                batch_requests.append(pending)
                moved_count += size
        return moved_count


def _select_fewest_groups(groups: list[ShardGroup], requests: int) -> list[ShardGroup]:
    """Return the fewest groups that together have at least `requests` requests, the largest group first."""
    selected_groups: list[ShardGroup] = []
    for group in sorted(groups, key=lambda group: group.requests, reverse=True):
        selected_groups.append(group)
        requests -= group.requests
        if requests <= 0:
            break
    return selected_groups


def _wake(waiter: asyncio.Future[None]) -> bool:
    """Wake a waiting lane by its future. Return False if the future is already done."""
    if waiter.done():
        return False
    waiter.set_result(None)
    return True
