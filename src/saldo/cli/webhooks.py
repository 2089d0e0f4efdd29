"""`saldo webhooks`: subscriptions, what of them waits or is dead, and trying it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from saldo import settings as settings_module
from saldo.bootstrap.webhooks import webhook_store
from saldo.cli.asking import ask
from saldo.cli.options import Json
from saldo.cli.output import confirm, print_json
from saldo.http.webhook_wire import parse_state, read_new_webhook, webhook_reading
from saldo.http.wire import InvalidError, parse_uuid
from saldo.store.errors import SetUpError
from saldo.store.webhooks import Change, Delivery, TooManyWebhooksError, Webhook, Webhooks

T = TypeVar("T")

ROWS_MAX = 1000
"""Of what is printed; the API has pages."""

app = typer.Typer(help="Send events to other services' URLs.", no_args_is_help=True)

WebhookId = Annotated[int, typer.Argument(help="Id, as `saldo webhooks list` shows it.", min=1)]


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="Where events are sent; https.")],
    event_type: Annotated[
        list[str] | None, typer.Option(help="Only events of this type; may be given several times.")
    ] = None,
    user: Annotated[
        list[str] | None, typer.Option(help="Only events of this user; may be given several times.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(help="whsec_ and base64. Not given: a new one is made.")
    ] = None,
    json_: Json = False,
) -> None:
    """Subscribe: every event from now on is sent to the URL. Prints the secret, once."""
    settings = settings_module.load()
    fields = {
        "url": url,
        "event_types": event_type or None,
        "user_ids": user or None,
        "secret": secret,
    }
    wanted = _read(lambda: read_new_webhook(fields, webhook_reading(settings)))
    try:
        webhook_id = ask(
            settings,
            webhook_store,
            lambda webhooks: webhooks.create(
                *(wanted.url, wanted.event_types, wanted.user_ids, wanted.secret),
                webhooks_max=settings.webhooks_max,
            ),
        )
    except TooManyWebhooksError:
        raise SetUpError(
            f"there are {settings.webhooks_max} webhooks already (SALDO_WEBHOOKS_MAX)"
        ) from None
    if json_:
        print_json({"id": webhook_id, "secret": wanted.secret})
        return
    Console().print(f"webhook {webhook_id}, secret {wanted.secret}", soft_wrap=True)


@app.command("list")
def list_(json_: Json = False) -> None:
    """Show all subscriptions, and how they do."""
    settings = settings_module.load()
    found = ask(settings, webhook_store, lambda webhooks: webhooks.page(after_id=0, limit=ROWS_MAX))
    if json_:
        for webhook in found:
            print_json(asdict(webhook))
        return
    table = Table("id", "url", "state", "delivered", "failed", "waiting", "dead", "last failure")
    for webhook in found:
        table.add_row(
            str(webhook.id),
            webhook.url,
            _state(webhook),
            f"{webhook.attempts_succeeded:,}",
            f"{webhook.attempts_failed:,}",
            f"{webhook.deliveries_waiting:,}",
            f"{webhook.deliveries_dead:,}",
            webhook.last_failure or "",
        )
    Console().print(table)


@app.command()
def show(webhook_id: WebhookId, json_: Json = False) -> None:
    """Show one subscription."""
    webhook = ask(settings_module.load(), webhook_store, lambda webhooks: webhooks.get(webhook_id))
    if webhook is None:
        raise _unknown(webhook_id)
    if json_:
        print_json(asdict(webhook))
        return
    table = Table(show_header=False)
    users = map(str, webhook.user_ids) if webhook.user_ids else ["all"]
    for name, value in (
        ("id", str(webhook.id)),
        ("url", webhook.url),
        ("event types", ", ".join(webhook.event_types or ["all"])),
        ("users", ", ".join(users)),
        ("created", _written(webhook.created_at)),
        ("state", _state(webhook)),
        ("failing since", _written(webhook.failing_since)),
        ("attempts that succeeded", f"{webhook.attempts_succeeded:,}"),
        ("attempts that failed", f"{webhook.attempts_failed:,}"),
        ("last failure", webhook.last_failure or ""),
        ("", _written(webhook.last_failure_at)),
        ("events that wait", f"{webhook.deliveries_waiting:,}"),
        ("events given up", f"{webhook.deliveries_dead:,}"),
    ):
        table.add_row(name, value)
    Console().print(table)


@app.command()
def delete(webhook_id: WebhookId, json_: Json = False) -> None:
    """Unsubscribe. What waits goes with it."""
    if not ask(settings_module.load(), webhook_store, lambda webhooks: webhooks.delete(webhook_id)):
        raise _unknown(webhook_id)
    _confirm(webhook_id, "deleted", as_json=json_)


@app.command()
def enable(webhook_id: WebhookId, json_: Json = False) -> None:
    """Go on where it was disabled; what waits is tried at once."""
    _change(webhook_id, Change(enabled=True))
    _confirm(webhook_id, "enabled", as_json=json_)


@app.command()
def disable(webhook_id: WebhookId, json_: Json = False) -> None:
    """Send nothing until it is enabled; nothing is lost."""
    _change(webhook_id, Change(enabled=False))
    _confirm(webhook_id, "disabled", as_json=json_)


@app.command()
def deliveries(
    webhook_id: WebhookId,
    state: Annotated[str | None, typer.Option(help="waiting, or dead.")] = None,
    json_: Json = False,
) -> None:
    """Show the events that wait or are dead, the oldest first."""
    wanted = _read(lambda: parse_state(state))

    async def listed(webhooks: Webhooks) -> list[Delivery] | None:
        if await webhooks.get(webhook_id) is None:
            return None
        return await webhooks.deliveries(webhook_id, after_id=0, state=wanted, limit=ROWS_MAX)

    found = ask(settings_module.load(), webhook_store, listed)
    if found is None:
        raise _unknown(webhook_id)
    if json_:
        for each in found:
            print_json(asdict(each))
        return
    table = Table("event", "user", "state", "attempts", "waits since", "next", "last failure")
    for each in found:
        table.add_row(
            str(each.uuid),
            str(each.user_id),
            "dead" if each.dead_at else "waiting",
            str(each.attempts),
            _written(each.waiting_since),
            "" if each.dead_at else _written(each.next_attempt_at),
            each.last_failure or "",
        )
    Console().print(table)
    if len(found) == ROWS_MAX:
        Console().print(f"only the first {ROWS_MAX:,}")


@app.command()
def replay(
    webhook_id: WebhookId,
    event: Annotated[str | None, typer.Option(help="Only this event.")] = None,
    json_: Json = False,
) -> None:
    """Try dead events again, all or one; what waits is tried at once."""
    settings = settings_module.load()
    uuid = None if event is None else _read(lambda: parse_uuid(event))

    async def replay_all(webhooks: Webhooks) -> int | None:
        if await webhooks.get(webhook_id) is None:
            return None
        return await webhooks.replay(webhook_id, uuid, deliveries_max=settings.webhook_pending_max)

    replayed = ask(settings, webhook_store, replay_all)
    if replayed is None:
        raise _unknown(webhook_id)
    done = {"id": webhook_id, "replayed": replayed}
    confirm(f"{replayed:,} events are tried again", done, as_json=json_)


def _read(read: Callable[[], T]) -> T:
    try:
        return read()
    except InvalidError as error:
        raise SetUpError(str(error)) from None


def _change(webhook_id: int, change: Change) -> None:
    settings = settings_module.load()
    kept = timedelta(seconds=settings.webhook_old_secret_seconds)
    if not ask(
        settings,
        webhook_store,
        lambda webhooks: webhooks.change(webhook_id, change, previous_secret=kept),
    ):
        raise _unknown(webhook_id)


def _confirm(webhook_id: int, state: str, *, as_json: bool) -> None:
    done = {"id": webhook_id, "state": state}
    confirm(f"webhook {webhook_id} is {state}", done, as_json=as_json)


def _unknown(webhook_id: int) -> SetUpError:
    return SetUpError(f"there is no webhook {webhook_id}: see saldo webhooks list")


def _state(webhook: Webhook) -> str:
    if webhook.disabled_at is not None:
        return f"disabled ({webhook.disabled_reason})"
    return "failing" if webhook.failing_since else "enabled"


def _written(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"
