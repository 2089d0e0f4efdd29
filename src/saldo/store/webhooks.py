"""Webhooks in PostgreSQL: the subscriptions, and their pending and dead deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from saldo.ledger.model import USER_ID_MAX
from saldo.store.connections.pooled_store import PooledStore
from saldo.store.errors import UuidRaceError
from saldo.store.sinks import LeaseLostError, SinkLease

DisabledReason = Literal["requested", "gone", "failing"]
"""Reason for which a webhook was disabled.

- requested: a client or an operator disabled it
- gone: the endpoint answered 410
- failing: no attempt had succeeded for too long
"""

DeliveryState = Literal["pending", "dead"]


class TooManyWebhooksError(Exception):
    """Raised when the limit of webhooks is reached."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook without its secret, as the API returns it.

    Attributes:
        event_types, user_ids: The event types and users that the webhook is limited to; None for all.
        failing_since: The time of the first failed attempt since the last success; None if no attempt has failed since
            then.
        oldest_pending_seconds: The age of the oldest pending delivery; 0 if there is none.
    """

    id: int
    url: str
    event_types: list[str] | None
    user_ids: list[int] | None
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: DisabledReason | None
    failing_since: datetime | None
    attempts_succeeded: int
    attempts_failed: int
    last_failure: str | None
    last_failure_at: datetime | None
    deliveries_pending: int
    deliveries_dead: int
    oldest_pending_seconds: float

    @property
    def is_disabled(self) -> bool:
        """True if no events are sent to the webhook."""
        return self.disabled_at is not None


@dataclass(frozen=True, slots=True)
class WebhookChange:
    """A change of a webhook. None leaves a field unchanged.

    Attributes:
        event_types, user_ids: The new value in a tuple with one item. The tuple is needed, because the value None means
            all types or all users.
    """

    url: str | None = None
    secret: str | None = None
    event_types: tuple[list[str] | None] | None = None
    user_ids: tuple[list[int] | None] | None = None
    enabled: bool | None = None


class ActiveWebhook(NamedTuple):
    """A webhook as the relay uses it.

    Attributes:
        previous_secret: The replaced secret, as long as deliveries are still signed with it; otherwise None.
    """

    id: int
    url: str
    event_types: list[str] | None
    user_ids: list[int] | None
    secret: str
    previous_secret: str | None

    @property
    def secrets(self) -> list[str]:
        """The secrets with which deliveries are signed."""
        return [self.secret, *([] if self.previous_secret is None else [self.previous_secret])]


class NewDelivery(NamedTuple):
    """A delivery to be stored as pending.

    Attributes:
        attempts: The number of failed attempts.
        delay: The time until the next attempt.
    """

    shard: int
    seq: int
    user_id: int
    uuid: UUID
    attempts: int
    delay: timedelta
    failure: str | None


class PendingDelivery(NamedTuple):
    """A pending delivery.

    Attributes:
        seconds_left: The time until the next attempt; negative if it is overdue.
    """

    shard: int
    seq: int
    user_id: int
    uuid: UUID
    attempts: int
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A pending or dead delivery, as the API returns it."""

    id: int
    uuid: UUID
    user_id: int
    shard: int
    seq: int
    attempts: int
    pending_since: datetime
    next_attempt_at: datetime
    last_attempt_at: datetime | None
    last_failure: str | None
    dead_at: datetime | None


class Webhooks(PooledStore):
    """Reads and writes webhooks and their deliveries."""

    application_name = "saldo webhooks"

    # --- subscriptions; each method raises StoreError when its statement fails -----------------

    async def create(
        self,
        url: str,
        event_types: list[str] | None,
        user_ids: list[int] | None,
        secret: str,
        *,
        webhooks_max: int,
    ) -> int:
        """Create a webhook and return its id. The webhook receives the events of entries that are recorded from now on.

        Raises:
            TooManyWebhooksError: The limit of webhooks is reached.
        """
        arguments = (url, event_types, user_ids, secret, webhooks_max)
        rows = await self._fetch("webhooks/create", *arguments)
        if not rows:
            raise TooManyWebhooksError
        return int(rows[0][0])

    async def get(self, webhook_id: int) -> Webhook | None:
        """Return a webhook, or None."""
        if webhook_id > USER_ID_MAX:
            return None
        rows = await self._fetch("webhooks/page", 0, webhook_id, 1)
        return Webhook(*rows[0]) if rows else None

    async def list_page(self, *, after_id: int, limit: int) -> list[Webhook]:
        """Return a page of webhooks, by id."""
        return [Webhook(*row) for row in await self._fetch("webhooks/page", after_id, None, limit)]

    async def change(
        self, webhook_id: int, change: WebhookChange, *, previous_secret: timedelta
    ) -> bool:
        """Change a webhook. Return False if it does not exist.

        Args:
            previous_secret: The time for which deliveries are still signed with a replaced secret, too.
        """
        if webhook_id > USER_ID_MAX:
            return False
        types, users = change.event_types, change.user_ids
        rows = await self._fetch(
            "webhooks/change",
            *(webhook_id, change.url, change.secret),
            *(types is not None, types[0] if types else None),
            *(users is not None, users[0] if users else None),
            *(change.enabled, previous_secret),
        )
        return bool(rows)

    async def delete(self, webhook_id: int) -> bool:
        """Delete a webhook with its deliveries. Return False if it does not exist."""
        return bool(await self._fetch("webhooks/delete", webhook_id))

    # --- deliveries -----------------------------------------------------------------------------

    async def list_deliveries(
        self, webhook_id: int, *, after_id: int, state: DeliveryState | None, limit: int
    ) -> list[Delivery]:
        """Return a page of deliveries, in the order in which they were stored.

        Args:
            state: The state of the deliveries to return; None for all.
        """
        dead = None if state is None else state == "dead"
        rows = await self._fetch("webhook_deliveries/page", webhook_id, after_id, dead, limit)
        return [Delivery(*row) for row in rows]

    async def replay_deliveries(
        self, webhook_id: int, uuid: UUID | None, *, deliveries_max: int
    ) -> int:
        """Choose deliveries, make the dead ones pending again, and make all of them due now. Return the number of
        chosen deliveries.

        Args:
            uuid: The uuid of the event whose delivery is chosen; None chooses all deliveries, dead ones first.
            deliveries_max: The maximum number of chosen deliveries.
        """
        return len(await self._fetch("webhook_deliveries/replay", webhook_id, uuid, deliveries_max))

    # --- for the relay ----------------------------------------------------------------------------

    async def list_active(self) -> list[ActiveWebhook]:
        """Return the webhooks that are not disabled."""
        return [ActiveWebhook(*row) for row in await self._fetch("webhooks/active")]

    async def disable(self, webhook_id: int, reason: Literal["gone", "failing"]) -> bool:
        """Disable a webhook and record a notice. Return False if the webhook does not exist or is already disabled."""
        while True:
            try:
                return bool(await self._fetch("webhooks/disable", webhook_id, reason))
            except UuidRaceError:
                continue  # another notice was recorded at this position

    async def count_attempts(
        self, webhook_id: int, succeeded: int, failed: int, failure: str | None, disable: timedelta
    ) -> bool:
        """Count attempts. Return True if no attempt has succeeded for the duration `disable`, so that the webhook must
        be disabled."""
        rows = await self._fetch(
            "webhooks/count_attempts", webhook_id, succeeded, failed, failure, disable
        )
        return bool(rows and rows[0][0])

    async def count_pending(self, webhook_id: int, user_ids: Sequence[int]) -> tuple[int, set[int]]:
        """Return the number of pending deliveries of the webhook, and those of the given users who have pending
        deliveries."""
        ((count, users),) = await self._fetch(
            "webhook_deliveries/count_pending", webhook_id, user_ids
        )
        return count, set(users)

    async def enqueue_deliveries(
        self, webhook_id: int, lease: SinkLease, events: Sequence[NewDelivery]
    ) -> None:
        """Store pending deliveries. Deliveries that are already pending remain unchanged.

        A dead delivery becomes pending again. If another event has the same position after a failover, its delivery
        replaces the stored one.

        Raises:
            LeaseLostError: Another relay has the lease, or the database has failed over since the lease was taken.
        """
        columns = [*map(list, zip(*events, strict=True))]
        if not events:
            return
        if not await self._fetch(
            "webhook_deliveries/enqueue", webhook_id, lease.epoch, *columns, lease.identity
        ):
            raise LeaseLostError(lease.sink)

    async def list_first_pending(
        self, webhook_id: int, excluded_user_ids: Sequence[int], limit: int
    ) -> list[PendingDelivery]:
        """Return the first pending delivery of each user, ordered by the time of the next attempt.

        Args:
            excluded_user_ids: the users whose deliveries are left out.
        """
        return [
            PendingDelivery(*row)
            for row in await self._fetch(
                "webhook_deliveries/first_pending", webhook_id, excluded_user_ids, limit
            )
        ]

    async def list_queued_behind(
        self, webhook_id: int, first_delivery: PendingDelivery, limit: int
    ) -> list[PendingDelivery]:
        """Return the pending deliveries of the same user that follow `first_delivery`, in order."""
        rows = await self._fetch(
            "webhook_deliveries/queued_behind",
            webhook_id,
            first_delivery.user_id,
            first_delivery.seq,
            limit,
        )
        return [PendingDelivery(*row) for row in rows]

    async def record_deliveries(self, webhook_id: int, events: Sequence[PendingDelivery]) -> None:
        """Delete successful deliveries of one user, and count their attempts."""
        seqs = [each.seq for each in events]
        await self._fetch("webhook_deliveries/delete_successful", webhook_id, events[0].shard, seqs)

    async def record_failure(
        self,
        webhook_id: int,
        delivery: PendingDelivery,
        failure: str,
        delay: timedelta,
        give_up_after: timedelta,
    ) -> bool:
        """Record a failed attempt. Return True if the delivery is dead now.

        Args:
            delay: The time until the next attempt.
            give_up_after: The age at which a delivery becomes dead.
        """
        rows = await self._fetch(
            "webhook_deliveries/record_failure",
            webhook_id,
            delivery.shard,
            delivery.seq,
            delay,
            give_up_after,
            failure,
        )
        return bool(rows and rows[0][0])

    async def retry_deliveries_now(self, webhook_id: int) -> None:
        """Make all pending deliveries due now."""
        await self._fetch("webhook_deliveries/retry_now", webhook_id)
