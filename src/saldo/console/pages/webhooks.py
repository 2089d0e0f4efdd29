"""The pages on which admins list, create, enable, disable and delete webhooks, and replay dead deliveries."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, Final

from litestar import Response, post
from litestar.params import FromPath

from saldo.auth.grants import Scope
from saldo.console.flash import clear_flash, read_flash, redirect_with_flash
from saldo.console.middleware import PageNotFoundError, require_scope
from saldo.console.page import (
    ConsolePage,
    InjectedPage,
    page_route,
    parse_form,
    parse_query,
    split_commas,
)
from saldo.events.event import RELAYED_EVENT_TYPES
from saldo.http.authorization import CONSOLE_PATH
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.webhooks import (
    create_webhook_parser_options,
    parse_new_webhook_fields,
    parse_webhook_id,
)
from saldo.store.webhooks import TooManyWebhooksError, Webhook, WebhookChange

_log = logging.getLogger("saldo.console")

WEBHOOKS_PATH: Final = f"{CONSOLE_PATH}/webhooks"
DELIVERIES_MAX: Final = 50


@page_route(WEBHOOKS_PATH)
async def show_webhooks(page: InjectedPage) -> Response[bytes]:
    """Show all webhooks."""
    require_scope(page, Scope.ADMIN)
    parse_query(page.request)
    secret = read_flash(page)
    answer = await _render_page(page, secret=secret or "")
    if secret is not None:
        clear_flash(page, answer)
    return answer


@post(WEBHOOKS_PATH)
async def create_webhook(page: InjectedPage) -> Response[bytes]:
    """Create a webhook and show its secret once."""
    require_scope(page, Scope.ADMIN)
    values = await parse_form(page.request, "url", "users", *RELAYED_EVENT_TYPES)
    settings = page.service.settings
    fields: dict[str, Any] = {
        "url": values.get("url", ""),
        "event_types": [name for name in RELAYED_EVENT_TYPES if name in values] or None,
        "user_ids": split_commas(values.get("users")),
    }
    try:
        new_webhook = parse_new_webhook_fields(fields, create_webhook_parser_options(settings))
        await page.service.webhooks.create(
            *(new_webhook.url, new_webhook.event_types, new_webhook.user_ids, new_webhook.secret),
            webhooks_max=settings.webhooks_max,
        )
    except InvalidRequestError as error:
        return await _render_page(page, 422, values=values, faults=page.describe_faults(error))
    except TooManyWebhooksError:
        webhooks_max = page.formatter.format_count(settings.webhooks_max)
        faults = {"url": page.messages.too_many_webhooks.format(webhooks_max)}
        return await _render_page(page, 409, values=values, faults=faults)
    _log_change(page, "made a webhook")
    return redirect_with_flash(page, WEBHOOKS_PATH, new_webhook.secret)


@page_route(f"{WEBHOOKS_PATH}/{{webhook_id:str}}")
async def show_webhook(page: InjectedPage, webhook_id: FromPath[str]) -> Response[bytes]:
    """Show a webhook with its pending and dead deliveries."""
    require_scope(page, Scope.ADMIN)
    webhook = await _get_webhook(page, webhook_id)
    replayed = parse_query(page.request, "replayed").get("replayed", "")
    deliveries = await page.service.webhooks.list_deliveries(
        webhook.id, after_id=0, state=None, limit=DELIVERIES_MAX
    )
    return page.render(
        "webhook.html",
        webhook=webhook,
        deliveries=deliveries,
        replayed=int(replayed) if replayed.isdecimal() and len(replayed) < 10 else None,
    )


@post(f"{WEBHOOKS_PATH}/{{webhook_id:str}}/switch")
async def switch_webhook(page: InjectedPage, webhook_id: FromPath[str]) -> Response[bytes]:
    """Enable or disable a webhook. An enabled webhook continues from its cursors."""
    require_scope(page, Scope.ADMIN)
    webhook = await _get_webhook(page, webhook_id)
    is_enabled = "on" in await parse_form(page.request, "on")
    overlap = timedelta(seconds=page.service.settings.webhook_secret_overlap_seconds)
    await page.service.webhooks.change(
        webhook.id, WebhookChange(enabled=is_enabled), previous_secret=overlap
    )
    _log_change(page, f"switched webhook {webhook.id} {'on' if is_enabled else 'off'}")
    return page.redirect(f"{WEBHOOKS_PATH}/{webhook.id}")


@post(f"{WEBHOOKS_PATH}/{{webhook_id:str}}/delete")
async def delete_webhook(page: InjectedPage, webhook_id: FromPath[str]) -> Response[bytes]:
    """Delete a webhook with its deliveries."""
    require_scope(page, Scope.ADMIN)
    webhook = await _get_webhook(page, webhook_id)
    await page.service.webhooks.delete(webhook.id)
    _log_change(page, f"deleted webhook {webhook.id}")
    return page.redirect(WEBHOOKS_PATH)


@post(f"{WEBHOOKS_PATH}/{{webhook_id:str}}/replay")
async def replay_webhook(page: InjectedPage, webhook_id: FromPath[str]) -> Response[bytes]:
    """Retry the dead and the pending deliveries of a webhook now."""
    require_scope(page, Scope.ADMIN)
    webhook = await _get_webhook(page, webhook_id)
    count = await page.service.webhooks.replay_deliveries(
        webhook.id, None, deliveries_max=page.service.settings.webhook_pending_max
    )
    return page.redirect(f"{WEBHOOKS_PATH}/{webhook.id}", replayed=str(count))


HANDLERS = [
    show_webhooks,
    create_webhook,
    show_webhook,
    switch_webhook,
    delete_webhook,
    replay_webhook,
]


async def _render_page(
    page: ConsolePage,
    status: int = 200,
    *,
    secret: str = "",
    values: dict[str, str] | None = None,
    faults: dict[str, str] | None = None,
) -> Response[bytes]:
    maximum = page.service.settings.webhooks_max
    webhooks = await page.service.webhooks.list_page(after_id=0, limit=maximum)
    return page.render(
        "webhooks.html",
        status,
        webhooks=webhooks,
        types=RELAYED_EVENT_TYPES,
        secret=secret,
        values=values or {},
        faults=faults or {},
    )


def _log_change(page: ConsolePage, change: str) -> None:
    """Log a change of a webhook with its author, for the audit trail."""
    _log.info("%s %s", page.grant.name, change)


async def _get_webhook(page: ConsolePage, text: str) -> Webhook:
    try:
        webhook = await page.service.webhooks.get(parse_webhook_id(text))
    except InvalidRequestError:
        raise PageNotFoundError from None
    if webhook is None:
        raise PageNotFoundError
    return webhook
