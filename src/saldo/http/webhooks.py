"""The routes of webhooks. Each handler reads, asks the store, and writes; no rule lives here."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, TypeAlias, cast

from litestar import Response, delete, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import PathParameter, QueryParameter
from msgspec import UNSET

from saldo.http import problems
from saldo.http import webhook_schemas as schemas
from saldo.http.examples import BODY, READING, problem_specs
from saldo.http.operations import Documented
from saldo.http.paging import page_of
from saldo.http.parameters import Cursor, Limit
from saldo.http.routes import AnswerError, Asked, Given, json_of, request_id, written
from saldo.http.service import Service
from saldo.http.webhook_operations import PatchWebhook, PostReplay, PostWebhook
from saldo.http.webhook_wire import (
    parse_change,
    parse_new_webhook,
    parse_replay,
    parse_state,
    parse_webhook_id,
    webhook_reading,
)
from saldo.http.wire import Fault, parse_limit, read_cursor
from saldo.ledger.time import format_instant
from saldo.relay.events import RelayedEventType
from saldo.store.webhooks import Delivery, TooManyWebhooksError, Webhook

WebhookId: TypeAlias = Annotated[
    str,
    PathParameter(
        description="The webhook.",
        examples=[Example(value="1")],
        schema_extra={"pattern": "^[0-9]{1,30}$"},
    ),
]
State: TypeAlias = Annotated[
    str | None,
    QueryParameter(
        name="state",
        description="Only those that wait, or only the dead ones.",
        examples=[Example(value="dead")],
        schema_extra={"pattern": "^(waiting|dead)$"},
    ),
]

_TAGS = ["webhooks"]
_WRONG_ID = Fault("webhook_id", "must be a whole number greater than zero")
_WRONG_URL = Fault("url", "must be an URL such as https://example.com/saldo")


@post(
    "/v1/webhook",
    summary="Subscribe",
    tags=_TAGS,
    operation_class=PostWebhook,
    responses={
        201: ResponseSpec(schemas.Webhook, description="Created.", generate_examples=False),
        **problem_specs("too_many_webhooks", *READING, *BODY, invalid=_WRONG_URL),
    },
)
async def post_webhook(request: Asked, service: Given) -> Response[Any]:
    """Every event that is recorded from now on is sent to the URL, signed with the secret, which is shown
    only in this answer."""
    body = await json_of(request)
    wanted = parse_new_webhook(body, webhook_reading(service.settings))
    maximum = service.settings.webhooks_max
    try:
        webhook_id = await service.webhooks.create(
            *(wanted.url, wanted.event_types, wanted.user_ids, wanted.secret), webhooks_max=maximum
        )
    except TooManyWebhooksError:
        raise AnswerError(problems.too_many_webhooks(maximum).answer(request_id(request))) from None
    created = await _found(webhook_id, request, service)
    created.secret = wanted.secret
    return Response(created, status_code=201)


@get(
    "/v1/webhook",
    summary="Webhooks",
    tags=_TAGS,
    operation_class=Documented,
    responses=problem_specs(
        *READING, invalid=Fault("limit", "must be a whole number from 1 to 1000")
    ),
)
async def get_webhooks(
    service: Given, limit: Limit = None, cursor: Cursor = None
) -> schemas.WebhookList:
    """All subscriptions by id, with how they do."""
    count = parse_limit(limit, service.settings.page_items_default, service.settings.page_items_max)
    after = read_cursor("webhooks", cursor) or 0
    found = await service.webhooks.page(after_id=after, limit=count + 1)
    page, next_cursor = page_of("webhooks", found, count)
    return schemas.WebhookList([_webhook(each) for each in page], next_cursor)


@get(
    "/v1/webhook/{webhook_id:str}",
    summary="One webhook",
    tags=_TAGS,
    operation_class=Documented,
    responses=problem_specs("webhook_not_found", *READING, invalid=_WRONG_ID),
)
async def get_webhook(webhook_id: WebhookId, request: Asked, service: Given) -> schemas.Webhook:
    """The subscription, and how it does."""
    return await _found(parse_webhook_id(webhook_id), request, service)


@patch(
    "/v1/webhook/{webhook_id:str}",
    summary="Change or enable a webhook",
    tags=_TAGS,
    operation_class=PatchWebhook,
    responses=problem_specs("webhook_not_found", *READING, *BODY, invalid=_WRONG_URL),
)
async def patch_webhook(webhook_id: WebhookId, request: Asked, service: Given) -> schemas.Webhook:
    """Changes what is given. The secret before signs, too, for a while. One that is enabled again goes on
    where it was disabled: nothing is lost."""
    number = parse_webhook_id(webhook_id)
    change = parse_change(await json_of(request), webhook_reading(service.settings))
    await service.webhooks.change(
        number,
        change,
        previous_secret=timedelta(seconds=service.settings.webhook_old_secret_seconds),
    )
    return await _found(number, request, service)


@delete(
    "/v1/webhook/{webhook_id:str}",
    status_code=200,
    summary="Unsubscribe",
    tags=_TAGS,
    operation_class=Documented,
    responses=problem_specs("webhook_not_found", *READING, invalid=_WRONG_ID),
)
async def delete_webhook(webhook_id: WebhookId, request: Asked, service: Given) -> schemas.Webhook:
    """Deletes it with all that waits; answers what it was."""
    number = parse_webhook_id(webhook_id)
    was = await _found(number, request, service)
    await service.webhooks.delete(number)
    return was


@get(
    "/v1/webhook/{webhook_id:str}/deliveries",
    summary="Events that wait or are dead",
    tags=_TAGS,
    operation_class=Documented,
    responses=problem_specs(
        "webhook_not_found", *READING, invalid=Fault("state", 'must be "waiting" or "dead"')
    ),
)
async def get_deliveries(
    webhook_id: WebhookId,
    request: Asked,
    service: Given,
    only: State = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> schemas.DeliveryList:
    """In the order in which they came to wait. What was delivered is not kept."""
    number = parse_webhook_id(webhook_id)
    wanted = parse_state(only)
    count = parse_limit(limit, service.settings.page_items_default, service.settings.page_items_max)
    listing = f"deliveries {number}"
    after = read_cursor(listing, cursor) or 0
    await _found(number, request, service)
    found = await service.webhooks.deliveries(number, after_id=after, state=wanted, limit=count + 1)
    page, next_cursor = page_of(listing, found, count)
    return schemas.DeliveryList([_delivery(each) for each in page], next_cursor)


@post(
    "/v1/webhook/{webhook_id:str}/deliveries/replay",
    status_code=200,
    summary="Try dead events again",
    tags=_TAGS,
    operation_class=PostReplay,
    responses={
        200: ResponseSpec(schemas.Replay, description="They wait.", generate_examples=False),
        **problem_specs(
            *("webhook_not_found", "delivery_not_found"),
            *READING,
            *BODY,
            invalid=Fault("event_id", "must be the id of an event"),
        ),
    },
)
async def post_replay(webhook_id: WebhookId, request: Asked, service: Given) -> Response[Any]:
    """All dead events, or one, are tried again, and what waits is tried at once. As many as may wait: ask
    again for more."""
    number = parse_webhook_id(webhook_id)
    body = await request.body()
    event_id = parse_replay(await json_of(request) if body else body)
    await _found(number, request, service)
    replayed = await service.webhooks.replay(
        number, event_id, deliveries_max=service.settings.webhook_pending_max
    )
    if event_id is not None and not replayed:
        raise AnswerError(problems.delivery_not_found(event_id).answer(request_id(request)))
    return Response(schemas.Replay(replayed))


WEBHOOK_HANDLERS = [
    post_webhook,
    get_webhooks,
    get_webhook,
    patch_webhook,
    delete_webhook,
    get_deliveries,
    post_replay,
]


async def _found(webhook_id: int, request: Asked, service: Service) -> schemas.Webhook:
    webhook = await service.webhooks.get(webhook_id)
    if webhook is None:
        raise AnswerError(problems.webhook_not_found(webhook_id).answer(request_id(request)))
    return _webhook(webhook)


def _webhook(webhook: Webhook) -> schemas.Webhook:
    return schemas.Webhook(
        id=webhook.id,
        url=webhook.url,
        event_types=cast(list[RelayedEventType] | None, webhook.event_types),
        user_ids=webhook.user_ids,
        enabled=webhook.disabled_at is None,
        created_at=format_instant(webhook.created_at),
        disabled_at=written(webhook.disabled_at),
        disabled_reason=webhook.disabled_reason,
        failing_since=written(webhook.failing_since),
        attempts_succeeded=webhook.attempts_succeeded,
        attempts_failed=webhook.attempts_failed,
        last_failure=webhook.last_failure,
        last_failure_at=written(webhook.last_failure_at),
        deliveries_waiting=webhook.deliveries_waiting,
        deliveries_dead=webhook.deliveries_dead,
        secret=UNSET,
    )


def _delivery(delivery: Delivery) -> schemas.Delivery:
    dead = delivery.dead_at is not None
    return schemas.Delivery(
        event_id=str(delivery.uuid),
        user_id=delivery.user_id,
        shard=delivery.shard,
        seq=delivery.seq,
        state="dead" if dead else "waiting",
        attempts=delivery.attempts,
        waiting_since=format_instant(delivery.waiting_since),
        next_attempt_at=None if dead else format_instant(delivery.next_attempt_at),
        last_attempt_at=written(delivery.last_attempt_at),
        last_failure=delivery.last_failure,
        dead_at=written(delivery.dead_at),
    )
