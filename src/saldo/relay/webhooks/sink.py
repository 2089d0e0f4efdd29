"""A webhook as a sink. The sink confirms an event when the endpoint has received it, or when it is stored as pending.

The events of one user are sent one at a time, in order. If one fails, it is stored as pending and retried, and all
later events of that user are stored as pending behind it. Events of other users are not affected. The sink therefore
makes progress even if the endpoint is down. When too many events are pending, the sink confirms no further events, and
the cursor does not move.
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

from saldo.events.event import EVENT_TYPES, NOTICE_USER_ID, Event, EventEncoder
from saldo.lifecycle.tasks import cancel_until_ended
from saldo.relay.sink import SinkError
from saldo.relay.webhooks.backoff import compute_retry_delay
from saldo.relay.webhooks.circuit_breaker import CircuitBreaker, CircuitBreakerStoppedError
from saldo.relay.webhooks.http_sender import Attempt, HttpSender
from saldo.store.errors import StoreError
from saldo.store.log import Log
from saldo.store.sinks import SinkLease
from saldo.store.webhooks import ActiveWebhook, NewDelivery, PendingDelivery, Webhooks

BATCH_SECONDS_MAX = 2.0
"""Maximum time for a batch. The events that are left after this time are stored as pending, so that slow deliveries of
one user's events don't delay the events of other users."""

POLL_SECONDS = 1.0
"""Polling interval of pending deliveries. Polling is needed, because replays are requested in other processes."""

DUE_EVENTS_MAX = 100
"""Maximum number of pending deliveries read by one query. The query finds the first pending delivery of each user,
which takes some milliseconds if many are pending."""

BEHIND_EVENTS_MAX = 50
"""Maximum number of a user's pending deliveries that are made after a successful one without another query. A user with
thousands of pending deliveries then progresses as fast as the endpoint responds. If the relay dies before it has
recorded the successes, these deliveries are made again."""

NOT_IN_LOG = "not in the log any more: it has been restored to an earlier state"

_NO_DELAY = timedelta(0)
_log = logging.getLogger("saldo.relay")


@dataclass(frozen=True, slots=True)
class WebhookLimits:
    """The limits of a webhook; see the settings of the same names."""

    concurrency: int
    backoff_seconds_min: float
    backoff_seconds_max: float
    give_up: timedelta
    disable: timedelta
    pending_max: int


class WebhookSink:
    """The sink of one endpoint; see `Sink`. It is used for one lease at a time."""

    def __init__(
        self,
        subscription: ActiveWebhook,
        webhooks: Webhooks,
        log: Log,
        encoder: EventEncoder,
        sender: HttpSender,
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
        self._endpoint = CircuitBreaker(limits.concurrency)
        self._woken = asyncio.Event()
        self._capacity_changed = asyncio.Event()
        self._failing = False
        self._lease: SinkLease | None = None
        self._retrying: asyncio.Task[None] | None = None
        self._attempts_in_flight: dict[int, asyncio.Task[None]] = {}
        self._due: deque[tuple[PendingDelivery, Event | None]] = deque()

    @property
    def name(self) -> str:
        return f"webhook-{self._subscription.id}"

    def change(self, subscription: ActiveWebhook) -> None:
        """Set the subscription that applies from the next event on."""
        self._subscription = subscription
        types, users = subscription.event_types, subscription.user_ids
        # By default, events of all types of the log are sent. Notices are sent only to subscriptions that list the
        # notices' type.
        self._types = frozenset(EVENT_TYPES if types is None else types)
        self._users = None if users is None else frozenset(users)

    @property
    def is_drained(self) -> bool:
        """True if no further attempt is made."""
        return self._endpoint.is_shut_down

    def drain(self) -> None:
        """Make no further attempt. Pending deliveries remain stored in the database."""
        self._endpoint.stop()
        self._woken.set()
        self._capacity_changed.set()

    async def open(self, lease: SinkLease) -> None:
        """See `Sink.open`. No connection is made, because an endpoint that is down must not stop the cursor."""
        self._lease = lease
        self._retrying = asyncio.create_task(self._retry_pending(), name=f"retries {self.name}")

    async def get_blocked_reason(self) -> str | None:
        """Return None: a webhook never blocks, because each attempt is a separate request with a timeout."""
        return None

    async def close(self) -> None:
        """See `Sink.close`."""
        tasks = [*self._attempts_in_flight.values()]
        if self._retrying is not None:
            tasks.append(self._retrying)
        if not self._endpoint.is_shut_down:
            await cancel_until_ended(tasks)
        await _wait_until_ended(tasks)
        self._retrying = None
        self._attempts_in_flight.clear()
        self._due.clear()

    async def publish(self, events: Sequence[Event]) -> int:
        """See `Sink.publish`. Events that the subscription doesn't want count as having no receiver."""
        wanted = [event for event in events if self._is_wanted(event)]
        if not wanted:
            return len(events)
        users_with_pending = await self._wait_for_capacity(wanted)
        chains: dict[asyncio.Task[None], _UserBatch] = {}
        new_deliveries: list[NewDelivery] = []
        until = asyncio.get_running_loop().time() + BATCH_SECONDS_MAX
        # The events are sorted by user, and for each user in the order of the log, because a user is in one shard.
        # Notices count as the events of one user.
        for user_id, user_events in groupby(
            sorted(wanted, key=_build_user_sort_key), key=lambda each: each.user_id
        ):
            if user_id in users_with_pending:
                new_deliveries += [_build_new_delivery(event) for event in user_events]
            else:
                chain = _UserBatch(list(user_events))
                chains[asyncio.create_task(self._deliver_user_batch(chain, until))] = chain
        try:
            await self._finish_batch(chains, new_deliveries)
        except BaseException:
            for task in chains:
                task.cancel()
            await _wait_until_ended([*chains])
            raise
        return len(events) - len(wanted)

    async def _finish_batch(
        self, chains: Mapping[asyncio.Task[None], _UserBatch], new_deliveries: list[NewDelivery]
    ) -> None:
        """Wait for the attempts until the time limit, and store all undelivered events as pending. Slow attempts stay
        running."""
        late: set[asyncio.Task[None]] = set()
        if chains:
            ended, late = await asyncio.wait(
                chains, timeout=BATCH_SECONDS_MAX, return_when=asyncio.FIRST_EXCEPTION
            )
            for task in ended:
                task.result()
        for task in late:
            # The attempt is registered before the delivery is stored, so that no retry begins while the attempt is
            # running.
            self._track_attempt(chains[task].user_id, task)
            chains[task].put = asyncio.get_running_loop().create_future()
        left = new_deliveries + [
            waiting for chain in chains.values() for waiting in chain.list_undelivered()
        ]
        try:
            await self._enqueue(left)
        finally:
            for task in late:
                put = chains[task].put
                if put is not None and not put.done():  # done: the task was cancelled
                    put.set_result(None)
        failed = [chain.failed for chain in chains.values() if chain.failed is not None]
        await self._record_attempts(sum(chain.delivered for chain in chains.values()), failed)

    def _is_wanted(self, event: Event) -> bool:
        if event.type not in self._types:
            return False
        return (
            self._users is None or event.user_id in self._users or event.user_id == NOTICE_USER_ID
        )

    async def _wait_for_capacity(self, events: Sequence[Event]) -> set[int]:
        """Wait until there is space for all events to become pending. Return those users of the events who already have
        pending deliveries."""
        users = sorted({event.user_id for event in events})
        while True:
            if self._endpoint.is_shut_down:
                raise SinkError("the webhook was stopped or disabled")
            if self._retrying is not None and self._retrying.done():
                self._retrying.result()  # raises the error of the retries: without retries nothing may be confirmed
            self._capacity_changed.clear()
            count, waiting = await self._webhooks.count_pending(self._subscription.id, users)
            if count + len(events) <= max(self._limits.pending_max, len(events)):
                return waiting
            await _wait(self._capacity_changed, POLL_SECONDS)

    async def _deliver_user_batch(self, chain: _UserBatch, until: float) -> None:
        """Send the events of one user in order, until one fails or the time is over."""
        for event in chain.events:
            attempt = await self._make_attempt(event, until)
            if attempt is None:
                return
            if chain.put is not None:
                # The batch has ended meanwhile, and stored the event as pending.
                await chain.put
                await self._record_result(_build_due_delivery(event), attempt)
                return
            if attempt.failure is not None:
                chain.failed = attempt
                chain.delay = self._compute_delay(1, event.user_id, attempt)
                return
            chain.delivered += 1

    async def _make_attempt(self, event: Event, until: float | None = None) -> Attempt | None:
        """Make one attempt. Return None if it could not begin before `until`, or if the sink is stopped."""
        if until is not None and asyncio.get_running_loop().time() >= until:
            return None
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout_at(until):
                    await stack.enter_async_context(self._endpoint.acquire_turn())
                subscription = self._subscription
                attempt = await self._sender.send(subscription.url, subscription.secrets, event)
        except (TimeoutError, CircuitBreakerStoppedError):
            return None
        if attempt.failure is None and self._endpoint.record_success():
            await self._webhooks.retry_deliveries_now(subscription.id)
            self._woken.set()
        return attempt

    async def _enqueue(self, new_deliveries: Sequence[NewDelivery]) -> None:
        assert self._lease is not None
        if new_deliveries:
            await self._webhooks.enqueue_deliveries(
                self._subscription.id, self._lease, new_deliveries
            )
            self._woken.set()

    def _compute_delay(self, attempts: int, user_id: int, attempt: Attempt) -> timedelta:
        """Return the delay until the next attempt, and report the failure to the circuit breaker."""
        limits = self._limits
        delay = compute_retry_delay(
            attempts,
            limits.backoff_seconds_min,
            limits.backoff_seconds_max,
            attempt.retry_after,
            random.random(),  # noqa: S311
        )
        endpoint_pause = 0.0 if attempt.retry_after is None else delay.total_seconds()
        self._endpoint.record_failure(user_id, delay.total_seconds(), endpoint_pause)
        return delay

    async def _record_attempts(self, succeeded: int, failed: Sequence[Attempt]) -> None:
        """Count the attempts, and disable the webhook if its endpoint is gone or has failed for too long."""
        if not succeeded and not failed:
            return
        failure = failed[-1].failure if failed else None
        if succeeded == 0 and not self._failing:
            _log.warning("%s: delivery failed: %s", self.name, failure)
        self._failing = succeeded == 0
        too_long = await self._webhooks.count_attempts(
            self._subscription.id, succeeded, len(failed), failure, self._limits.disable
        )
        if any(attempt.is_gone for attempt in failed):
            await self._disable("gone", "the endpoint responded with 410")
        elif too_long:
            seconds = self._limits.disable.total_seconds()
            await self._disable("failing", f"no delivery succeeded for {seconds:g} s: {failure}")

    async def _disable(self, reason: Literal["gone", "failing"], explanation: str) -> None:
        self.drain()
        if await self._webhooks.disable(self._subscription.id, reason):
            # The URL is not logged, since it may contain a token.
            _log.error("%s: disabled: %s", self.name, explanation)

    # --- pending deliveries --------------------------------------------------------------------

    async def _retry_pending(self) -> None:
        """Retry each user's first pending delivery when it is due, until cancelled or closed."""
        try:
            while not self._endpoint.is_shut_down:
                self._woken.clear()
                seconds = POLL_SECONDS
                try:
                    seconds = await self._retry_due()
                except StoreError as error:
                    _log.warning("%s: can't read the pending deliveries: %s", self.name, error)
                await _wait(self._woken, seconds)
        finally:
            await _wait_until_ended([*self._attempts_in_flight.values()])

    async def _retry_due(self) -> float:
        """Start due retries up to the concurrency limit, and return the seconds until the next query."""
        seconds = POLL_SECONDS
        if not self._due:
            first = await self._webhooks.list_first_pending(
                self._subscription.id, [*self._attempts_in_flight], DUE_EVENTS_MAX
            )
            left = [each.seconds_left for each in first if each.seconds_left > 0]
            seconds = min([POLL_SECONDS, *left])
            self._due.extend(
                await self._join_events([each for each in first if each.seconds_left <= 0])
            )
        while self._due and len(self._attempts_in_flight) < self._limits.concurrency:
            each, event = self._due.popleft()
            # A user with an attempt in flight, such as a late one of a batch, is skipped.
            if each.user_id not in self._attempts_in_flight:
                self._track_attempt(each.user_id, asyncio.create_task(self._retry_one(each, event)))
        return seconds

    async def _join_events(
        self, due: Sequence[PendingDelivery]
    ) -> list[tuple[PendingDelivery, Event | None]]:
        """Return each delivery with its event. The event is None if the log no longer has it."""
        entries = await self._log.list_entries_at(
            [(each.shard, each.seq, each.uuid) for each in due]
        )
        events = {entry.uuid: self._encoder.encode(entry) for entry in entries}
        return [(each, events.get(each.uuid)) for each in due]

    def _track_attempt(self, user_id: int, task: asyncio.Task[None]) -> None:
        self._attempts_in_flight[user_id] = task
        task.add_done_callback(partial(self._remove_attempt, user_id))

    def _remove_attempt(self, user_id: int, task: asyncio.Task[None]) -> None:
        # After a replay, a user may have two attempts in flight for a moment.
        if self._attempts_in_flight.get(user_id) is task:
            del self._attempts_in_flight[user_id]
        self._woken.set()
        self._capacity_changed.set()

    async def _retry_one(self, due: PendingDelivery, event: Event | None) -> None:
        if event is None:
            await self._record_result(due, Attempt(NOT_IN_LOG), give_up=True)
            return
        until = asyncio.get_running_loop().time() + BATCH_SECONDS_MAX
        attempt = await self._make_attempt(event)
        if attempt is None or attempt.failure is not None:
            if attempt is not None:
                await self._record_result(due, attempt)
            return
        delivered = [due]
        failed: tuple[PendingDelivery, Attempt] | None = None
        for each, next_event in await self._read_following(due):
            next_attempt = (
                None if next_event is None else await self._make_attempt(next_event, until)
            )
            if next_attempt is None:
                break
            if next_attempt.failure is not None:
                failed = each, next_attempt
                break
            delivered.append(each)
        await self._record_result(due, attempt, delivered)
        if failed is not None:
            await self._record_result(*failed)

    async def _read_following(
        self, due: PendingDelivery
    ) -> list[tuple[PendingDelivery, Event | None]]:
        """Return the deliveries of the same user that follow this one, up to the first that is not due yet."""
        try:
            behind = await self._webhooks.list_queued_behind(
                self._subscription.id, due, BEHIND_EVENTS_MAX
            )
            ready = takewhile(lambda each: each.seconds_left <= 0, behind)
            return await self._join_events([*ready])
        except StoreError as error:
            _log.warning("%s: can't read the pending deliveries: %s", self.name, error)
            return []

    async def _record_result(
        self,
        due: PendingDelivery,
        attempt: Attempt,
        delivered: Sequence[PendingDelivery] | None = None,
        *,
        give_up: bool = False,
    ) -> None:
        """Record the result of an attempt at a pending delivery. If it succeeded, all deliveries in `delivered` are
        recorded as successful."""
        try:
            if attempt.failure is None:
                await self._webhooks.record_deliveries(self._subscription.id, delivered or [due])
                self._failing = False
            else:
                await self._record_failed_attempt(due, attempt, attempt.failure, give_up)
        except StoreError as error:
            # The delivery stays pending, so that it is attempted again.
            _log.warning("%s: can't record the outcome of an attempt: %s", self.name, error)

    async def _record_failed_attempt(
        self, due: PendingDelivery, attempt: Attempt, failure: str, give_up: bool
    ) -> None:
        delay = (
            self._compute_delay(due.attempts + 1, due.user_id, attempt)
            if not give_up
            else _NO_DELAY
        )
        longest = _NO_DELAY if give_up else self._limits.give_up
        dead = await self._webhooks.record_failure(
            self._subscription.id, due, failure, delay, longest
        )
        await self._record_attempts(0, [] if give_up else [attempt])
        if dead:
            _log.warning("%s: delivery of event %s is dead: %s", self.name, due.uuid, failure)
            # The user's next delivery has waited for about the same time, and may become dead at its next attempt. The
            # pause prevents a burst of such attempts.
            await self._endpoint.pause(self._limits.backoff_seconds_min)


class _UserBatch:
    """The events of one user in a batch, in order.

    Attributes:
        delivered: number of delivered events.
        failed: the failed attempt at the event after the delivered ones; None if no attempt has failed.
        delay: the delay until the failed event is retried.
        put: None while the batch waits for the attempts. If the time of the batch ends during an attempt, `put` becomes
            a future, and the attempt continues. The future is done when the undelivered events, including that of the
            attempt, are stored as pending. Then the attempt may record its result.
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

    def list_undelivered(self) -> list[NewDelivery]:
        """Return the undelivered events as pending deliveries."""
        waiting = [_build_new_delivery(event) for event in self.events[self.delivered :]]
        if self.failed is not None:
            waiting[0] = waiting[0]._replace(
                attempts=1, delay=self.delay, failure=self.failed.failure
            )
        return waiting


def _build_new_delivery(event: Event) -> NewDelivery:
    return NewDelivery(event.shard, event.seq, event.user_id, UUID(event.id), 0, _NO_DELAY, None)


def _build_due_delivery(event: Event) -> PendingDelivery:
    return PendingDelivery(event.shard, event.seq, event.user_id, UUID(event.id), 0, 0.0)


def _build_user_sort_key(event: Event) -> tuple[int, int]:
    return event.user_id, event.seq


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _wait_until_ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
