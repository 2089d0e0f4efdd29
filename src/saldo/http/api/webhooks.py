"""The routes of webhooks.

Handlers parse the request, call the store and format the result; they contain no rules.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, TypeAlias, cast, get_args

from litestar import Response, delete, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from msgspec import UNSET

from saldo.events.event import RelayedEventType
from saldo.http import problems
from saldo.http.api.context import AppContext, InjectedContext
from saldo.http.framework_responses import JsonResponse
from saldo.http.openapi.bodies import DocumentedOperation
from saldo.http.openapi.errors import BODY_CODES, DATABASE_CODES, describe_problems
from saldo.http.openapi.parameters import Cursor, Limit, describe_path_id, describe_query
from saldo.http.openapi.webhook_bodies import (
    PatchWebhookOperation,
    PostReplayOperation,
    PostWebhookOperation,
)
from saldo.http.pagination import cut_page
from saldo.http.problems import ProblemError
from saldo.http.requests import HttpRequest, read_json_body
from saldo.http.responses import format_optional_instant
from saldo.http.schemas import webhooks as schemas
from saldo.ledger.instants import format_instant
from saldo.parsing.faults import InvalidField
from saldo.parsing.transactions import parse_cursor, parse_limit
from saldo.parsing.webhooks import (
    create_webhook_parser_options,
    parse_change,
    parse_new_webhook,
    parse_replay,
    parse_state,
    parse_webhook_id,
)
from saldo.store.webhooks import Delivery, DeliveryState, TooManyWebhooksError, Webhook

WebhookId: TypeAlias = Annotated[str, describe_path_id("Id of the webhook.")]
State: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Returns only pending or only dead deliveries.",
        "state",
        "dead",
        enum=list(get_args(DeliveryState)),
    ),
]

_TAGS = ["webhooks"]
_WRONG_ID = InvalidField("webhook_id", "must be a whole number greater than zero")
_WRONG_URL = InvalidField("url", "must be a URL such as https://example.com/saldo")


@post(
    "/v1/webhook",
    summary="Create a webhook",
    tags=_TAGS,
    operation_class=PostWebhookOperation,
    responses={
        201: ResponseSpec(
            schemas.Webhook, description="The webhook was created.", generate_examples=False
        ),
        **describe_problems("too_many_webhooks", *DATABASE_CODES, *BODY_CODES, invalid=_WRONG_URL),
    },
)
async def post_webhook(request: HttpRequest, service: InjectedContext) -> Response[Any]:
    """Creates a webhook. Every event that is recorded from now on is sent to its URL, signed with its secret.

    The secret is only in this response."""
    body = await read_json_body(request)
    new_webhook = parse_new_webhook(body, create_webhook_parser_options(service.settings))
    webhooks_max = service.settings.webhooks_max
    try:
        webhook_id = await service.webhooks.create(
            *(new_webhook.url, new_webhook.event_types, new_webhook.user_ids, new_webhook.secret),
            webhooks_max=webhooks_max,
        )
    except TooManyWebhooksError:
        raise ProblemError(problems.build_too_many_webhooks(webhooks_max)) from None
    created = await _read_webhook(webhook_id, request, service)
    created.secret = new_webhook.secret
    return JsonResponse(created, status_code=201)


@get(
    "/v1/webhook",
    summary="List webhooks",
    tags=_TAGS,
    operation_class=DocumentedOperation,
    responses=describe_problems(
        *DATABASE_CODES, invalid=InvalidField("limit", "must be a whole number from 1 to 1000")
    ),
)
async def get_webhooks(
    service: InjectedContext, limit: Limit = None, cursor: Cursor = None
) -> schemas.WebhookList:
    """Lists all webhooks, ordered by id, with the state of their deliveries."""
    count = parse_limit(limit, service.settings.page_items_default, service.settings.page_items_max)
    after = parse_cursor("webhooks", cursor) or 0
    webhooks = await service.webhooks.list_page(after_id=after, limit=count + 1)
    page, next_cursor = cut_page("webhooks", webhooks, count)
    return schemas.WebhookList([_convert_webhook(webhook) for webhook in page], next_cursor)


@get(
    "/v1/webhook/{webhook_id:str}",
    summary="Get a webhook",
    tags=_TAGS,
    operation_class=DocumentedOperation,
    responses=describe_problems("webhook_not_found", *DATABASE_CODES, invalid=_WRONG_ID),
)
async def get_webhook(
    webhook_id: WebhookId, request: HttpRequest, service: InjectedContext
) -> schemas.Webhook:
    """Returns a webhook with the state of its deliveries."""
    return await _read_webhook(parse_webhook_id(webhook_id), request, service)


@patch(
    "/v1/webhook/{webhook_id:str}",
    summary="Update a webhook",
    tags=_TAGS,
    operation_class=PatchWebhookOperation,
    responses=describe_problems(
        "webhook_not_found", *DATABASE_CODES, *BODY_CODES, invalid=_WRONG_URL
    ),
)
async def patch_webhook(
    webhook_id: WebhookId, request: HttpRequest, service: InjectedContext
) -> schemas.Webhook:
    """Updates a webhook. Fields that are missing in the body remain unchanged.

    After a change of the secret, deliveries are signed with both secrets for a while. A webhook that is enabled again
    continues where it was disabled, so no event is lost."""
    number = parse_webhook_id(webhook_id)
    change = parse_change(
        await read_json_body(request), create_webhook_parser_options(service.settings)
    )
    await service.webhooks.change(
        number,
        change,
        previous_secret=timedelta(seconds=service.settings.webhook_secret_overlap_seconds),
    )
    return await _read_webhook(number, request, service)


@delete(
    "/v1/webhook/{webhook_id:str}",
    status_code=200,
    summary="Delete a webhook",
    tags=_TAGS,
    operation_class=DocumentedOperation,
    responses=describe_problems("webhook_not_found", *DATABASE_CODES, invalid=_WRONG_ID),
)
async def delete_webhook(
    webhook_id: WebhookId, request: HttpRequest, service: InjectedContext
) -> schemas.Webhook:
    """Deletes a webhook and its pending and dead deliveries, and returns the webhook."""
    number = parse_webhook_id(webhook_id)
    webhook = await _read_webhook(number, request, service)
    await service.webhooks.delete(number)
    return webhook


@get(
    "/v1/webhook/{webhook_id:str}/deliveries",
    summary="List pending and dead deliveries",
    tags=_TAGS,
    operation_class=DocumentedOperation,
    responses=describe_problems(
        "webhook_not_found",
        *DATABASE_CODES,
        invalid=InvalidField("state", 'must be "pending" or "dead"'),
    ),
)
async def get_deliveries(
    webhook_id: WebhookId,
    request: HttpRequest,
    service: InjectedContext,
    only: State = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> schemas.DeliveryList:
    """Lists the pending and dead deliveries of a webhook, oldest first.

    Successful deliveries are not stored."""
    number = parse_webhook_id(webhook_id)
    state = parse_state(only)
    count = parse_limit(limit, service.settings.page_items_default, service.settings.page_items_max)
    listing = f"deliveries {number}"
    after = parse_cursor(listing, cursor) or 0
    await _read_webhook(number, request, service)
    deliveries = await service.webhooks.list_deliveries(
        number, after_id=after, state=state, limit=count + 1
    )
    page, next_cursor = cut_page(listing, deliveries, count)
    return schemas.DeliveryList([_convert_delivery(delivery) for delivery in page], next_cursor)


@post(
    "/v1/webhook/{webhook_id:str}/deliveries/replay",
    status_code=200,
    summary="Retry dead deliveries",
    tags=_TAGS,
    operation_class=PostReplayOperation,
    responses={
        200: ResponseSpec(
            schemas.ReplayResult,
            description="The deliveries are pending again.",
            generate_examples=False,
        ),
        **describe_problems(
            *("webhook_not_found", "delivery_not_found"),
            *DATABASE_CODES,
            *BODY_CODES,
            invalid=InvalidField("event_id", "must be the id of an event"),
        ),
    },
)
async def post_replay(
    webhook_id: WebhookId, request: HttpRequest, service: InjectedContext
) -> Response[Any]:
    """Retries all dead deliveries, or the delivery of one event. Pending deliveries are sent immediately.

    One request retries at most `SALDO_WEBHOOK_PENDING_MAX` deliveries. Repeat the request to retry more."""
    number = parse_webhook_id(webhook_id)
    body = await request.body()
    event_id = parse_replay(await read_json_body(request) if body else body)
    await _read_webhook(number, request, service)
    replayed = await service.webhooks.replay_deliveries(
        number, event_id, deliveries_max=service.settings.webhook_pending_max
    )
    if event_id is not None and not replayed:
        raise ProblemError(problems.build_delivery_not_found(event_id))
    return JsonResponse(schemas.ReplayResult(replayed))


WEBHOOK_HANDLERS = [
    post_webhook,
    get_webhooks,
    get_webhook,
    patch_webhook,
    delete_webhook,
    get_deliveries,
    post_replay,
]


async def _read_webhook(
    webhook_id: int, request: HttpRequest, service: AppContext
) -> schemas.Webhook:
    webhook = await service.webhooks.get(webhook_id)
    if webhook is None:
        raise ProblemError(problems.build_webhook_not_found(webhook_id))
    return _convert_webhook(webhook)


def _convert_webhook(webhook: Webhook) -> schemas.Webhook:
    return schemas.Webhook(
        id=webhook.id,
        url=webhook.url,
        event_types=cast(list[RelayedEventType] | None, webhook.event_types),
        user_ids=webhook.user_ids,
        enabled=webhook.disabled_at is None,
        created_at=format_instant(webhook.created_at),
        disabled_at=format_optional_instant(webhook.disabled_at),
        disabled_reason=webhook.disabled_reason,
        failing_since=format_optional_instant(webhook.failing_since),
        attempts_succeeded=webhook.attempts_succeeded,
        attempts_failed=webhook.attempts_failed,
        last_failure=webhook.last_failure,
        last_failure_at=format_optional_instant(webhook.last_failure_at),
        deliveries_pending=webhook.deliveries_pending,
        deliveries_dead=webhook.deliveries_dead,
        secret=UNSET,
    )


def _convert_delivery(delivery: Delivery) -> schemas.Delivery:
    is_dead = delivery.dead_at is not None
    return schemas.Delivery(
        event_id=delivery.uuid,
        user_id=delivery.user_id,
        shard=delivery.shard,
        seq=delivery.seq,
        state="dead" if is_dead else "pending",
        attempts=delivery.attempts,
        pending_since=format_instant(delivery.pending_since),
        next_attempt_at=None if is_dead else format_instant(delivery.next_attempt_at),
        last_attempt_at=format_optional_instant(delivery.last_attempt_at),
        last_failure=delivery.last_failure,
        dead_at=format_optional_instant(delivery.dead_at),
    )
