"""The wire schemas of webhooks and deliveries."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from saldo.events.event import RelayedEventType
from saldo.http.schemas.ledger import DATE_TIME, Instant
from saldo.store.webhooks import DeliveryState, DisabledReason


class Webhook(Struct):
    """A webhook. The secret is only in the response to the request that creates the webhook."""

    id: int
    url: Annotated[str, Meta(examples=["https://example.com/saldo"])]
    event_types: Annotated[
        list[RelayedEventType] | None,
        Meta(
            description="Types of the events that are sent. Null means all types except saldo.webhook.disabled."
        ),
    ]
    user_ids: Annotated[
        list[int] | None, Meta(description="Users whose events are sent. Null means all users.")
    ]
    enabled: bool
    created_at: Instant
    disabled_at: Instant | None
    disabled_reason: Annotated[
        DisabledReason | None,
        Meta(
            description="Reason why the webhook is disabled: `requested` by a client, `gone` after the endpoint "
            "responded "
            "with 410, or `failing` after too long without a successful attempt."
        ),
    ]
    failing_since: Annotated[
        Instant | None,
        Meta(
            description="Time since which no attempt has succeeded. It is null if the last attempt succeeded.",
            extra_json_schema=DATE_TIME,
        ),
    ]
    attempts_succeeded: int
    attempts_failed: int
    last_failure: str | None
    last_failure_at: Instant | None
    deliveries_pending: Annotated[
        int,
        Meta(
            description="Number of pending deliveries, including those that wait for an earlier event of the user."
        ),
    ]
    deliveries_dead: Annotated[int, Meta(description="Number of dead deliveries.")]
    secret: Annotated[
        str | UnsetType,
        Meta(
            description="Secret that signs the deliveries. It is only in the response to the request that creates the "
            "webhook."
        ),
    ] = UNSET


class WebhookList(Struct):
    """A page of webhooks, ordered by id."""

    items: list[Webhook]
    next_cursor: str | None


class Delivery(Struct):
    """A pending or dead delivery of an event."""

    event_id: Annotated[
        UUID, Meta(description="Id of the event, which is also the header `webhook-id`.")
    ]
    user_id: int
    shard: int
    seq: int
    state: DeliveryState
    attempts: Annotated[
        int,
        Meta(
            description="Number of failed attempts. It is 0 while the delivery waits for an earlier event of the user."
        ),
    ]
    pending_since: Instant
    next_attempt_at: Annotated[
        Instant | None,
        Meta(
            description="Time of the next attempt. It is null if the delivery is dead.",
            extra_json_schema=DATE_TIME,
        ),
    ]
    last_attempt_at: Instant | None
    last_failure: str | None
    dead_at: Instant | None


class DeliveryList(Struct):
    """A page of deliveries, in the order in which they became pending."""

    items: list[Delivery]
    next_cursor: str | None


class ReplayResult(Struct):
    """The result of a replay: the number of deliveries that are retried now."""

    replayed: int
