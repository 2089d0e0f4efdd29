"""Webhooks: subscriptions, and the events of them that wait or are dead. All of it lives in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from saldo.store.errors import ClashError
from saldo.store.pooled import Pooled
from saldo.store.sinks import FencedError, Lease

DisabledReason = Literal["requested", "gone", "failing"]
"""By an operator; the endpoint answered 410; no attempt has succeeded for too long."""

DeliveryState = Literal["waiting", "dead"]


class TooManyWebhooksError(Exception):
    """There are as many as the setting allows."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A subscription as it is shown: without its secret.

    Attributes:
        event_types, user_ids: None: all.
        failing_since: since when no attempt has succeeded.
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
    deliveries_waiting: int
    deliveries_dead: int

    @property
    def disabled(self) -> bool:
        """Whether nothing is sent to it."""
        return self.disabled_at is not None


@dataclass(frozen=True, slots=True)
class Change:
    """What of a webhook is given anew.

    Attributes:
        url, secret, enabled: None: as it was.
        event_types, user_ids: in a tuple of one, since None means all; None: as it was.
    """

    url: str | None = None
    secret: str | None = None
    event_types: tuple[list[str] | None] | None = None
    user_ids: tuple[list[int] | None] | None = None
    enabled: bool | None = None


class Subscription(NamedTuple):
    """A subscription as it is relayed to. previous_secret: signs, too, for a while."""

    id: int
    url: str
    event_types: list[str] | None
    user_ids: list[int] | None
    secret: str
    previous_secret: str | None

    @property
    def secrets(self) -> list[str]:
        """Those that sign."""
        return [self.secret, *([] if self.previous_secret is None else [self.previous_secret])]


class Waiting(NamedTuple):
    """An event to be put where it waits. attempts: those that have failed; delay: until the next."""

    shard: int
    seq: int
    user_id: int
    uuid: UUID
    attempts: int
    delay: timedelta
    failure: str | None


class Due(NamedTuple):
    """The first event of a user that waits."""

    shard: int
    seq: int
    user_id: int
    uuid: UUID
    attempts: int
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that waits or is dead, as it is shown."""

    id: int
    uuid: UUID
    user_id: int
    shard: int
    seq: int
    attempts: int
    waiting_since: datetime
    next_attempt_at: datetime
    last_attempt_at: datetime | None
    last_failure: str | None
    dead_at: datetime | None


class Webhooks(Pooled):
    """Reads and writes them."""

    application_name = "saldo webhooks"

    # --- subscriptions: each raises StoreError when the database can't be asked ----------------

    async def create(
        self,
        url: str,
        event_types: list[str] | None,
        user_ids: list[int] | None,
        secret: str,
        *,
        webhooks_max: int,
    ) -> int:
        """The id of a new one. It gets what is recorded from now on.

        Raises:
            TooManyWebhooksError: see there.
        """
        arguments = (url, event_types, user_ids, secret, webhooks_max)
        rows = await self._fetch("webhook_create", *arguments)
        if not rows:
            raise TooManyWebhooksError
        return int(rows[0][0])

    async def get(self, webhook_id: int) -> Webhook | None:
        """One, or None."""
        rows = await self._fetch("webhooks_page", 0, webhook_id, 1)
        return Webhook(*rows[0]) if rows else None

    async def page(self, *, after_id: int, limit: int) -> list[Webhook]:
        """Those with greater ids, by id."""
        return [Webhook(*row) for row in await self._fetch("webhooks_page", after_id, None, limit)]

    async def change(self, webhook_id: int, change: Change, *, previous_secret: timedelta) -> bool:
        """Changes what is given; False: there is none of this id.

        Args:
            previous_secret: how long one that is replaced goes on signing.
        """
        types, users = change.event_types, change.user_ids
        rows = await self._fetch(
            "webhook_change",
            *(webhook_id, change.url, change.secret),
            *(types is not None, types[0] if types else None),
            *(users is not None, users[0] if users else None),
            *(change.enabled, previous_secret),
        )
        return bool(rows)

    async def delete(self, webhook_id: int) -> bool:
        """Deletes it with what waits; False: there is none of this id."""
        return bool(await self._fetch("webhook_delete", webhook_id))

    # --- what waits, and what is dead -----------------------------------------------------------

    async def deliveries(
        self, webhook_id: int, *, after_id: int, state: DeliveryState | None, limit: int
    ) -> list[Delivery]:
        """A page, in the order in which they came to wait."""
        dead = None if state is None else state == "dead"
        rows = await self._fetch("webhook_deliveries_page", webhook_id, after_id, dead, limit)
        return [Delivery(*row) for row in rows]

    async def replay(self, webhook_id: int, uuid: UUID | None, *, deliveries_max: int) -> int:
        """Lets the dead events, or only one, be tried again, and what waits be tried at once; how many."""
        return len(await self._fetch("webhook_replay", webhook_id, uuid, deliveries_max))

    # --- for the relay ----------------------------------------------------------------------------

    async def active(self) -> list[Subscription]:
        """Those that are to be relayed to."""
        return [Subscription(*row) for row in await self._fetch("webhooks_active")]

    async def disable(self, webhook_id: int, reason: Literal["gone", "failing"]) -> bool:
        """Whether it was enabled until now; then there is a notice of it."""
        while True:
            try:
                return bool(await self._fetch("webhook_disable", webhook_id, reason))
            except ClashError:
                continue  # another notice has taken the position

    async def record(
        self, webhook_id: int, succeeded: int, failed: int, failure: str | None, disable: timedelta
    ) -> bool:
        """Counts attempts; whether none has succeeded for as long as `disable`."""
        rows = await self._fetch("webhook_record", webhook_id, succeeded, failed, failure, disable)
        return bool(rows and rows[0][0])

    async def waiting(self, webhook_id: int, user_ids: Sequence[int]) -> tuple[int, set[int]]:
        """How many events wait, and which of these users have one that does."""
        ((count, users),) = await self._fetch("webhook_waiting", webhook_id, user_ids)
        return count, set(users)

    async def put(self, webhook_id: int, lease: Lease, events: Sequence[Waiting]) -> None:
        """Puts events where they wait. Those that are there already stay as they are.

        Raises:
            FencedError: another relay has the webhook.
        """
        columns = [*map(list, zip(*events, strict=True))]
        if events and not await self._fetch("webhook_put", webhook_id, lease.epoch, *columns):
            raise FencedError(lease.sink)

    async def due(self, webhook_id: int, without: Sequence[int], limit: int) -> list[Due]:
        """The first waiting event of each user, those of some users left out; the most urgent first."""
        return [Due(*row) for row in await self._fetch("webhook_due", webhook_id, without, limit)]

    async def behind(self, webhook_id: int, first: Due, limit: int) -> list[Due]:
        """What waits behind an event of the same user, in order."""
        rows = await self._fetch("webhook_behind", webhook_id, first.user_id, first.seq, limit)
        return [Due(*row) for row in rows]

    async def delivered(self, webhook_id: int, events: Sequence[Due]) -> None:
        """Events of one user wait no more; the attempts that succeeded are counted."""
        seqs = [each.seq for each in events]
        await self._fetch("webhook_delivered", webhook_id, events[0].shard, seqs)

    async def failed(
        self, webhook_id: int, due: Due, failure: str, delay: timedelta, give_up: timedelta
    ) -> bool:
        """It waits for another attempt; or, True, it has waited for so long that it is dead now."""
        rows = await self._fetch(
            "webhook_failed", webhook_id, due.shard, due.seq, delay, give_up, failure
        )
        return bool(rows and rows[0][0])

    async def hasten(self, webhook_id: int) -> None:
        """What waits is tried at once."""
        await self._fetch("webhook_hasten", webhook_id)
