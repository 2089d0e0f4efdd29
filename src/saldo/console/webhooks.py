"""Webhooks, for admins: what there is and how it does, a new one, on and off, and what was given up."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, Final

from litestar import Response, post
from litestar.params import FromPath

from saldo.access.grant import Scope
from saldo.console.gate import NotFoundError, needing
from saldo.console.once import forget, go_and_show, to_show
from saldo.console.page import Given, Page, form_of, listed, query_of, shows
from saldo.http.access import CONSOLE_PATH
from saldo.http.webhook_wire import parse_webhook_id, read_new_webhook, webhook_reading
from saldo.http.wire import InvalidError
from saldo.relay.events import RELAYED_EVENT_TYPES
from saldo.store.webhooks import Change, TooManyWebhooksError, Webhook

_log = logging.getLogger("saldo.console")

WEBHOOKS_PATH: Final = f"{CONSOLE_PATH}/webhooks"
DELIVERIES_MAX: Final = 50


@shows(WEBHOOKS_PATH)
async def show_webhooks(page: Given) -> Response[bytes]:
    """All of them."""
    needing(page, Scope.ADMIN)
    query_of(page.request)
    secret = to_show(page)
    answer = await _page(page, secret=secret or "")
    if secret is not None:
        forget(page, answer)
    return answer


@post(WEBHOOKS_PATH)
async def create_webhook(page: Given) -> Response[bytes]:
    """Subscribes, and has the secret shown."""
    needing(page, Scope.ADMIN)
    typed = await form_of(page.request, "url", "users", *RELAYED_EVENT_TYPES)
    settings = page.service.settings
    fields: dict[str, Any] = {
        "url": typed.get("url"),
        "event_types": [name for name in RELAYED_EVENT_TYPES if name in typed] or None,
        "user_ids": listed(typed.get("users")),
    }
    try:
        wanted = read_new_webhook(fields, webhook_reading(settings))
        await page.service.webhooks.create(
            *(wanted.url, wanted.event_types, wanted.user_ids, wanted.secret),
            webhooks_max=settings.webhooks_max,
        )
    except InvalidError as error:
        return await _page(page, 422, typed=typed, faults=page.faults(error))
    except TooManyWebhooksError:
        return await _page(page, 409, typed=typed, faults={"url": page.words.too_many_webhooks})
    _tell(page, "made a webhook")
    return go_and_show(page, WEBHOOKS_PATH, wanted.secret)


@shows(f"{WEBHOOKS_PATH}/{{webhook_id:str}}")
async def show_webhook(page: Given, webhook_id: FromPath[str]) -> Response[bytes]:
    """One, and what waits for it or was given up."""
    needing(page, Scope.ADMIN)
    webhook = await _found(page, webhook_id)
    replayed = query_of(page.request, "replayed").get("replayed", "")
    deliveries = await page.service.webhooks.deliveries(
        webhook.id, after_id=0, state=None, limit=DELIVERIES_MAX
    )
    return page.show(
        "webhook.html",
        webhook=webhook,
        deliveries=deliveries,
        replayed=int(replayed) if replayed.isdecimal() and len(replayed) < 10 else None,
    )


@post(f"{WEBHOOKS_PATH}/{{webhook_id:str}}/switch")
async def switch_webhook(page: Given, webhook_id: FromPath[str]) -> Response[bytes]:
    """On or off. On again, it goes on where it was."""
    needing(page, Scope.ADMIN)
    webhook = await _found(page, webhook_id)
    enabled = "on" in await form_of(page.request, "on")
    old = timedelta(seconds=page.service.settings.webhook_old_secret_seconds)
    await page.service.webhooks.change(webhook.id, Change(enabled=enabled), previous_secret=old)
    _tell(page, f"switched webhook {webhook.id} {'on' if enabled else 'off'}")
    return page.go(f"{WEBHOOKS_PATH}/{webhook.id}")


@post(f"{WEBHOOKS_PATH}/{{webhook_id:str}}/delete")
async def delete_webhook(page: Given, webhook_id: FromPath[str]) -> Response[bytes]:
    """With all that waits for it."""
    needing(page, Scope.ADMIN)
    webhook = await _found(page, webhook_id)
    await page.service.webhooks.delete(webhook.id)
    _tell(page, f"deleted webhook {webhook.id}")
    return page.go(WEBHOOKS_PATH)


@post(f"{WEBHOOKS_PATH}/{{webhook_id:str}}/replay")
async def replay_webhook(page: Given, webhook_id: FromPath[str]) -> Response[bytes]:
    """Tries again what was given up."""
    needing(page, Scope.ADMIN)
    webhook = await _found(page, webhook_id)
    count = await page.service.webhooks.replay(
        webhook.id, None, deliveries_max=page.service.settings.webhook_pending_max
    )
    return page.go(f"{WEBHOOKS_PATH}/{webhook.id}", replayed=str(count))


HANDLERS = [
    show_webhooks,
    create_webhook,
    show_webhook,
    switch_webhook,
    delete_webhook,
    replay_webhook,
]


async def _page(
    page: Page,
    status: int = 200,
    *,
    secret: str = "",
    typed: dict[str, str] | None = None,
    faults: dict[str, str] | None = None,
) -> Response[bytes]:
    maximum = page.service.settings.webhooks_max
    webhooks = await page.service.webhooks.page(after_id=0, limit=maximum)
    return page.show(
        "webhooks.html",
        status,
        webhooks=webhooks,
        types=RELAYED_EVENT_TYPES,
        secret=secret,
        typed=typed or {},
        faults=faults or {},
    )


def _tell(page: Page, what: str) -> None:
    """Who has changed where events go must be found afterwards."""
    _log.info("%s %s", page.grant.name, what)


async def _found(page: Page, text: str) -> Webhook:
    try:
        webhook = await page.service.webhooks.get(parse_webhook_id(text))
    except InvalidError:
        raise NotFoundError from None
    if webhook is None:
        raise NotFoundError
    return webhook
