"""The wire schemas of webhooks: what requests and answers look like."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from saldo.http.schemas import Instant
from saldo.relay.events import RelayedEventType
from saldo.store.webhooks import DeliveryState, DisabledReason


class Webhook(Struct):
    """A subscription. The secret is shown once, in the answer to its creation."""

    id: int
    url: Annotated[str, Meta(examples=["https://example.com/saldo"])]
    event_types: Annotated[
        list[RelayedEventType] | None, Meta(description="null: all of the ledger.")
    ]
    user_ids: Annotated[list[int] | None, Meta(description="null: all.")]
    enabled: bool
    created_at: Instant
    disabled_at: Instant | None
    disabled_reason: Annotated[
        DisabledReason | None,
        Meta(
            description="By a request; the endpoint answered 410; no attempt has succeeded for too long."
        ),
    ]
    failing_since: Annotated[
        Instant | None, Meta(description="Since when no attempt has succeeded.")
    ]
    attempts_succeeded: int
    attempts_failed: int
    last_failure: str | None
    last_failure_at: Instant | None
    deliveries_waiting: Annotated[
        int, Meta(description="Events that wait for a retry, or behind one that does.")
    ]
    deliveries_dead: Annotated[int, Meta(description="Events that were given up.")]
    secret: Annotated[
        str | UnsetType, Meta(description="Signs the events. Only in the answer to the creation.")
    ] = UNSET


class WebhookList(Struct):
    """A page of webhooks by id."""

    items: list[Webhook]
    next_cursor: str | None


class Delivery(Struct):
    """An event that waits or is dead."""

    event_id: Annotated[str, Meta(description="The event's `id`, and its header `webhook-id`.")]
    user_id: int
    shard: int
    seq: int
    state: DeliveryState
    attempts: Annotated[int, Meta(description="That failed. 0: it waits behind another.")]
    waiting_since: Instant
    next_attempt_at: Annotated[Instant | None, Meta(description="null: it is dead.")]
    last_attempt_at: Instant | None
    last_failure: str | None
    dead_at: Instant | None


class DeliveryList(Struct):
    """A page of deliveries, in the order in which they came to wait."""

    items: list[Delivery]
    next_cursor: str | None


class Replay(Struct):
    """How many events are tried again now."""

    replayed: int
