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
from saldo.parsing.faults import InvalidError
from saldo.parsing.webhooks import parse_webhook_id, read_new_webhook, webhook_parser_options
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
    answer = await _page(page, secret=secret or "")
    if secret is not None:
        clear_flash(page, answer)
    return answer


@post(WEBHOOKS_PATH)
async def create_webhook(page: InjectedPage) -> Response[bytes]:
    """Create a webhook and show its secret once."""
    require_scope(page, Scope.ADMIN)
    typed = await parse_form(page.request, "url", "users", *RELAYED_EVENT_TYPES)
    settings = page.service.settings
    fields: dict[str, Any] = {
        "url": typed.get("url", ""),
        "event_types": [name for name in RELAYED_EVENT_TYPES if name in typed] or None,
        "user_ids": split_commas(typed.get("users")),
    }
    try:
        wanted = read_new_webhook(fields, webhook_parser_options(settings))
        await page.service.webhooks.create(
            *(wanted.url, wanted.event_types, wanted.user_ids, wanted.secret),
            webhooks_max=settings.webhooks_max,
        )
    except InvalidError as error:
        return await _page(page, 422, typed=typed, faults=page.fault_messages(error))
    except TooManyWebhooksError:
        maximum = page.formatter.count(settings.webhooks_max)
        faults = {"url": page.messages.too_many_webhooks.format(maximum)}
        return await _page(page, 409, typed=typed, faults=faults)
    _log_change(page, "made a webhook")
    return redirect_with_flash(page, WEBHOOKS_PATH, wanted.secret)


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
    enabled = "on" in await parse_form(page.request, "on")
    old = timedelta(seconds=page.service.settings.webhook_secret_overlap_seconds)
    await page.service.webhooks.change(
        webhook.id, WebhookChange(enabled=enabled), previous_secret=old
    )
    _log_change(page, f"switched webhook {webhook.id} {'on' if enabled else 'off'}")
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


async def _page(
    page: ConsolePage,
    status: int = 200,
    *,
    secret: str = "",
    typed: dict[str, str] | None = None,
    faults: dict[str, str] | None = None,
) -> Response[bytes]:
    maximum = page.service.settings.webhooks_max
    webhooks = await page.service.webhooks.page(after_id=0, limit=maximum)
    return page.render(
        "webhooks.html",
        status,
        webhooks=webhooks,
        types=RELAYED_EVENT_TYPES,
        secret=secret,
        typed=typed or {},
        faults=faults or {},
    )


def _log_change(page: ConsolePage, what: str) -> None:
    """Log a change of a webhook with its author, for the audit trail."""
    _log.info("%s %s", page.grant.name, what)


async def _get_webhook(page: ConsolePage, text: str) -> Webhook:
    try:
        webhook = await page.service.webhooks.get(parse_webhook_id(text))
    except InvalidError:
        raise PageNotFoundError from None
    if webhook is None:
        raise PageNotFoundError
    return webhook
