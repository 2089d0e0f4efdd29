"""A webhook as a sink: an event is confirmed when the endpoint has it, or when it stands durably where it waits.

The events of one user go one at a time, in order. When one fails, it waits for a retry, and every later one of
the user waits behind it; the other users' go on. So the sink always gets on, however the endpoint behaves, until
as many wait as may: then it confirms nothing more, and the cursor stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import groupby, takewhile
from typing import Literal
from uuid import UUID

from saldo.relay.events import EVENT_TYPES, NO_USER, Encoder, Event
from saldo.relay.sink import SinkError
from saldo.relay.webhooks.endpoint import ClosedError, Endpoint
from saldo.relay.webhooks.retry import delay_after
from saldo.relay.webhooks.sender import Attempt, Sender
from saldo.store.errors import StoreError
from saldo.store.log import Log
from saldo.store.sinks import Lease
from saldo.store.webhooks import Due, Subscription, Waiting, Webhooks

BATCH_SECONDS_MAX = 2.0
"""Then what is left of a batch waits, too: a user whose answers are slow must not hold up the others."""

LOOK_SECONDS = 1.0
"""How often it is looked for what waits; replays come from other processes."""

DUE_EVENTS_MAX = 100
"""That are read at once: to find the first of each user takes some milliseconds when many wait."""

BEHIND_EVENTS_MAX = 50
"""Of a user whose first waiting event is delivered, that go on without another look: a user with thousands waiting
gets on as fast as the endpoint answers. They are sent again if the relay dies before it has written that they were."""

NOT_IN_LOG = "not in the log any more: it has been restored to an earlier state"

_NO_DELAY = timedelta(0)
_log = logging.getLogger("saldo.relay")


@dataclass(frozen=True, slots=True)
class WebhookLimits:
    """The bounds of a webhook; see the settings of the same names."""

    concurrency: int
    backoff_seconds_min: float
    backoff_seconds_max: float
    give_up: timedelta
    disable: timedelta
    pending_max: int


class WebhookSink:
    """Delivers to one endpoint; see `Sink`. For one lease at a time."""

    def __init__(
        self,
        subscription: Subscription,
        webhooks: Webhooks,
        log: Log,
        encoder: Encoder,
        sender: Sender,
        limits: WebhookLimits,
    ) -> None:
        self._subscription = subscription
        self._types: frozenset[str] = frozenset()
        self._users: frozenset[int] | None = None
        self.change(subscription)
        self._webhooks = webhooks
        self._log = log
        self._encoder = encoder
        self._sender = sender
        self._limits = limits
        self._endpoint = Endpoint(limits.concurrency)
        self._woken = asyncio.Event()
        self._room = asyncio.Event()
        self._failing = False
        self._lease: Lease | None = None
        self._retrying: asyncio.Task[None] | None = None
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._due: deque[tuple[Due, Event | None]] = deque()

    @property
    def name(self) -> str:
        return f"webhook-{self._subscription.id}"

    def change(self, subscription: Subscription) -> None:
        """From the next event on it is this."""
        self._subscription = subscription
        types, users = subscription.event_types, subscription.user_ids
        # All of the ledger; notices are told only to whom they were promised.
        self._types = frozenset(EVENT_TYPES if types is None else types)
        self._users = None if users is None else frozenset(users)

    @property
    def drained(self) -> bool:
        """Whether no further attempt is made."""
        return self._endpoint.closed

    def drain(self) -> None:
        """No further attempt: what is left of a batch waits in the database."""
        self._endpoint.close()
        self._woken.set()
        self._room.set()

    async def open(self, lease: Lease) -> None:
        """See `Sink.open`. Nothing is connected to: an endpoint that is down must not stop the cursor."""
        self._lease = lease
        self._retrying = asyncio.create_task(self._retry(), name=f"retries {self.name}")

    async def close(self) -> None:
        """See `Sink.close`."""
        tasks = [*self._under_way.values()]
        if self._retrying is not None:
            tasks.append(self._retrying)
        if not self._endpoint.closed:
            for task in tasks:
                task.cancel()
        await _all_ended(tasks)
        self._retrying = None
        self._under_way.clear()
        self._due.clear()

    async def publish(self, events: Sequence[Event]) -> int:
        """See `Sink.publish`; those that the subscription doesn't want go to nobody."""
        wanted = [event for event in events if self._wants(event)]
        if not wanted:
            return len(events)
        waiting = await self._make_room(wanted)
        chains: dict[asyncio.Task[None], _Chain] = {}
        behind: list[Waiting] = []
        until = asyncio.get_running_loop().time() + BATCH_SECONDS_MAX
        # By user, in the order of the log: a user's events stand in one shard. Notices are as those of one more.
        for user_id, found in groupby(sorted(wanted, key=_by_user), key=lambda each: each.user_id):
            if user_id in waiting:
                behind += [_waiting(event) for event in found]
            else:
                chain = _Chain(list(found))
                chains[asyncio.create_task(self._deliver(chain, until))] = chain
        try:
            await self._finish(chains, behind)
        except BaseException:
            for task in chains:
                task.cancel()
            await _all_ended([*chains])
            raise
        return len(events) - len(wanted)

    async def _finish(
        self, chains: Mapping[asyncio.Task[None], _Chain], behind: list[Waiting]
    ) -> None:
        """Waits for the attempts, but not for slow ones: those go on, and what is left waits durably."""
        late: set[asyncio.Task[None]] = set()
        if chains:
            ended, late = await asyncio.wait(
                chains, timeout=BATCH_SECONDS_MAX, return_when=asyncio.FIRST_EXCEPTION
            )
            for task in ended:
                task.result()
        for task in late:
            # Before it stands there: no retry may begin beside it.
            self._go_on(chains[task].user_id, task)
            chains[task].put = asyncio.get_running_loop().create_future()
        left = behind + [waiting for chain in chains.values() for waiting in chain.left()]
        try:
            await self._put(left)
        finally:
            for task in late:
                put = chains[task].put
                if put is not None and not put.done():  # done: the task was cancelled
                    put.set_result(None)
        failed = [chain.failed for chain in chains.values() if chain.failed is not None]
        await self._record(sum(chain.delivered for chain in chains.values()), failed)

    def _wants(self, event: Event) -> bool:
        if event.type not in self._types:
            return False
        return self._users is None or event.user_id in self._users or event.user_id == NO_USER

    async def _make_room(self, events: Sequence[Event]) -> set[int]:
        """Returns when all of them may wait; which of their users have one that does."""
        users = sorted({event.user_id for event in events})
        while True:
            if self._endpoint.closed:
                raise SinkError("stopped or disabled")
            if self._retrying is not None and self._retrying.done():
                self._retrying.result()  # a fault of ours: without retries nothing may be confirmed
            self._room.clear()
            count, waiting = await self._webhooks.waiting(self._subscription.id, users)
            if count + len(events) <= max(self._limits.pending_max, len(events)):
                return waiting
            await _wait(self._room, LOOK_SECONDS)

    async def _deliver(self, chain: _Chain, until: float) -> None:
        """The events of one user, one after another, until one fails or the time is over."""
        for event in chain.events:
            attempt = await self._attempt(event, until)
            if attempt is None:
                return
            if chain.put is not None:
                # Too late for the batch: it stands where it waits by now.
                await chain.put
                await self._settle(_due(event), attempt)
                return
            if attempt.failure is not None:
                chain.failed = attempt
                chain.delay = self._delay(1, event.user_id, attempt)
                return
            chain.delivered += 1

    async def _attempt(self, event: Event, until: float | None = None) -> Attempt | None:
        """One attempt; None: there was no turn for it by then."""
        if until is not None and asyncio.get_running_loop().time() >= until:
            return None
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout_at(until):
                    await stack.enter_async_context(self._endpoint.turn())
                subscription = self._subscription
                attempt = await self._sender.send(subscription.url, subscription.secrets, event)
        except (TimeoutError, ClosedError):
            return None
        if attempt.failure is None and self._endpoint.succeeded():
            await self._webhooks.hasten(subscription.id)
            self._woken.set()
        return attempt

    async def _put(self, waiting: Sequence[Waiting]) -> None:
        assert self._lease is not None
        if waiting:
            await self._webhooks.put(self._subscription.id, self._lease, waiting)
            self._woken.set()

    def _delay(self, attempts: int, user_id: int, attempt: Attempt) -> timedelta:
        """When to try again; and tells the endpoint."""
        limits = self._limits
        delay = delay_after(
            attempts,
            limits.backoff_seconds_min,
            limits.backoff_seconds_max,
            attempt.retry_after,
            random.random(),  # noqa: S311
        )
        asked = 0.0 if attempt.retry_after is None else delay.total_seconds()
        self._endpoint.failed(user_id, delay.total_seconds(), asked)
        return delay

    async def _record(self, succeeded: int, failed: Sequence[Attempt]) -> None:
        """Counts attempts; disables an endpoint that is gone, or has failed for too long."""
        if not succeeded and not failed:
            return
        failure = failed[-1].failure if failed else None
        if succeeded == 0 and not self._failing:
            _log.warning("%s fails: %s", self.name, failure)
        self._failing = succeeded == 0
        too_long = await self._webhooks.record(
            self._subscription.id, succeeded, len(failed), failure, self._limits.disable
        )
        if any(attempt.gone for attempt in failed):
            await self._disable("gone", "answered 410")
        elif too_long:
            seconds = self._limits.disable.total_seconds()
            await self._disable("failing", f"nothing was delivered for {seconds:g} s: {failure}")

    async def _disable(self, reason: Literal["gone", "failing"], because: str) -> None:
        self.drain()
        if await self._webhooks.disable(self._subscription.id, reason):
            # Not its URL: that may hold a token.
            _log.error("%s is disabled: %s", self.name, because)

    # --- what waits ----------------------------------------------------------------------------

    async def _retry(self) -> None:
        """Tries what waits, the first of each user, when it is due; until it is cancelled or closed."""
        try:
            while not self._endpoint.closed:
                self._woken.clear()
                seconds = LOOK_SECONDS
                try:
                    seconds = await self._retry_due()
                except StoreError as error:
                    _log.warning("%s: what waits can't be read: %s", self.name, error)
                await _wait(self._woken, seconds)
        finally:
            await _all_ended([*self._under_way.values()])

    async def _retry_due(self) -> float:
        """Begins with what is due, as far as there is room; after how many seconds to look again."""
        seconds = LOOK_SECONDS
        if not self._due:
            first = await self._webhooks.due(
                self._subscription.id, [*self._under_way], DUE_EVENTS_MAX
            )
            left = [each.seconds_left for each in first if each.seconds_left > 0]
            seconds = min([LOOK_SECONDS, *left])
            self._due.extend(
                await self._with_events([each for each in first if each.seconds_left <= 0])
            )
        while self._due and len(self._under_way) < self._limits.concurrency:
            each, event = self._due.popleft()
            # Or a batch has left it to a late attempt meanwhile.
            if each.user_id not in self._under_way:
                self._go_on(each.user_id, asyncio.create_task(self._retry_one(each, event)))
        return seconds

    async def _with_events(self, due: Sequence[Due]) -> list[tuple[Due, Event | None]]:
        """Each with its event; None: the log has it no more."""
        found = await self._log.at([(each.shard, each.seq, each.uuid) for each in due])
        events = {entry.uuid: self._encoder.event(entry) for entry in found}
        return [(each, events.get(each.uuid)) for each in due]

    def _go_on(self, user_id: int, task: asyncio.Task[None]) -> None:
        self._under_way[user_id] = task
        task.add_done_callback(partial(self._ended, user_id))

    def _ended(self, user_id: int, task: asyncio.Task[None]) -> None:
        # After a replay there may be two of a user for a moment.
        if self._under_way.get(user_id) is task:
            del self._under_way[user_id]
        self._woken.set()
        self._room.set()

    async def _retry_one(self, due: Due, event: Event | None) -> None:
        if event is None:
            await self._settle(due, Attempt(NOT_IN_LOG), give_up=True)
            return
        until = asyncio.get_running_loop().time() + BATCH_SECONDS_MAX
        attempt = await self._attempt(event)
        if attempt is None or attempt.failure is not None:
            if attempt is not None:
                await self._settle(due, attempt)
            return
        delivered = [due]
        failed: tuple[Due, Attempt] | None = None
        for each, next_event in await self._behind(due):
            next_attempt = None if next_event is None else await self._attempt(next_event, until)
            if next_attempt is None:
                break
            if next_attempt.failure is not None:
                failed = each, next_attempt
                break
            delivered.append(each)
        await self._settle(due, attempt, delivered)
        if failed is not None:
            await self._settle(*failed)

    async def _behind(self, due: Due) -> list[tuple[Due, Event | None]]:
        """What waits behind it and is due, too: as far as there is none in between that isn't."""
        try:
            behind = await self._webhooks.behind(self._subscription.id, due, BEHIND_EVENTS_MAX)
            ready = takewhile(lambda each: each.seconds_left <= 0, behind)
            return await self._with_events([*ready])
        except StoreError as error:
            _log.warning("%s: what waits can't be read: %s", self.name, error)
            return []

    async def _settle(
        self,
        due: Due,
        attempt: Attempt,
        delivered: Sequence[Due] | None = None,
        *,
        give_up: bool = False,
    ) -> None:
        """Writes what came of an attempt at an event that waits; and of the others of `delivered`."""
        try:
            if attempt.failure is None:
                await self._webhooks.delivered(self._subscription.id, delivered or [due])
                self._failing = False
            else:
                await self._settle_failed(due, attempt, attempt.failure, give_up)
        except StoreError as error:
            # It still waits, and is sent once more.
            _log.warning("%s: the outcome of an attempt can't be written: %s", self.name, error)

    async def _settle_failed(self, due: Due, attempt: Attempt, failure: str, give_up: bool) -> None:
        delay = self._delay(due.attempts + 1, due.user_id, attempt) if not give_up else _NO_DELAY
        longest = _NO_DELAY if give_up else self._limits.give_up
        dead = await self._webhooks.failed(self._subscription.id, due, failure, delay, longest)
        await self._record(0, [] if give_up else [attempt])
        if dead:
            _log.warning("%s: event %s is given up: %s", self.name, due.uuid, failure)
            # The next of the user has waited as long: no storm of last attempts.
            await self._endpoint.pause(self._limits.backoff_seconds_min)


class _Chain:
    """The events of one user in a batch, in order.

    Attributes:
        delivered: how many of them are.
        failed, delay: the attempt at the next one that failed, and when to try again.
        put: set when the batch doesn't wait any longer; done when what is left stands where it waits.
    """

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.delivered = 0
        self.failed: Attempt | None = None
        self.delay = _NO_DELAY
        self.put: asyncio.Future[None] | None = None

    @property
    def user_id(self) -> int:
        return self.events[0].user_id

    def left(self) -> list[Waiting]:
        """What is not delivered, as it waits."""
        waiting = [_waiting(event) for event in self.events[self.delivered :]]
        if self.failed is not None:
            waiting[0] = waiting[0]._replace(
                attempts=1, delay=self.delay, failure=self.failed.failure
            )
        return waiting


def _waiting(event: Event) -> Waiting:
    return Waiting(event.shard, event.seq, event.user_id, UUID(event.id), 0, _NO_DELAY, None)


def _due(event: Event) -> Due:
    return Due(event.shard, event.seq, event.user_id, UUID(event.id), 0, 0.0)


def _by_user(event: Event) -> tuple[int, int]:
    return event.user_id, event.seq


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _all_ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
