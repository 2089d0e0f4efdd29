"""`saldo webhooks` manages webhooks, shows their pending and dead deliveries, and retries them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

import typer

from saldo.bootstrap.webhooks import open_webhook_store
from saldo.cli.connection.database import LocalDatabase, query_database
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json
from saldo.cli.output import (
    format_count,
    print_confirmation,
    print_fields,
    print_json,
    print_line,
    print_table,
)
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import parse_uuid
from saldo.parsing.webhooks import (
    create_webhook_parser_options,
    parse_new_webhook_fields,
    parse_state,
)
from saldo.settings import model as settings_module
from saldo.store.webhooks import Delivery, TooManyWebhooksError, Webhook, WebhookChange, Webhooks

T = TypeVar("T")

ROWS_MAX = 1000
"""Maximum number of rows that are printed. The API can list more, because it has pagination."""

app = typer.Typer(help="Manage webhooks, which deliver events to URLs.", no_args_is_help=True)

WebhookId = Annotated[
    int, typer.Argument(help="Id of the webhook, as shown by `saldo webhooks list`.", min=1)
]


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="URL that receives the events. It must use https.")],
    event_type: Annotated[
        list[str] | None, typer.Option(help="Send events of this type only. Repeatable.")
    ] = None,
    user: Annotated[
        list[str] | None, typer.Option(help="Send events of this user only. Repeatable.")
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            help="Secret that signs the deliveries, as whsec_ and base64. The default is a new secret."
        ),
    ] = None,
    json_: Json = False,
    local: LocalDatabase = False,
) -> None:
    """Create a webhook and print its secret.

    The secret is printed once. All later events are delivered to the URL.
    """
    settings = settings_module.load_settings()
    fields = {
        "url": url,
        "event_types": event_type or None,
        "user_ids": user or None,
        "secret": secret,
    }
    new_webhook = _parse_or_fail(
        lambda: parse_new_webhook_fields(fields, create_webhook_parser_options(settings))
    )
    try:
        webhook_id = query_database(
            settings,
            open_webhook_store,
            lambda webhooks: webhooks.create(
                *(
                    new_webhook.url,
                    new_webhook.event_types,
                    new_webhook.user_ids,
                    new_webhook.secret,
                ),
                webhooks_max=settings.webhooks_max,
            ),
            local=local,
            recovery_hint="if `saldo webhooks list` shows the new webhook, delete it, because its secret was not "
            "printed; then repeat the command",
        )
    except TooManyWebhooksError:
        raise CommandError(
            f"the limit of {settings.webhooks_max} webhooks is reached: delete a webhook, or raise SALDO_WEBHOOKS_MAX"
        ) from None
    if json_:
        print_json({"id": webhook_id, "secret": new_webhook.secret})
        return
    print_line(f"webhook {webhook_id}, secret {new_webhook.secret}")


@app.command("list")
def list_(json_: Json = False, local: LocalDatabase = False) -> None:
    """List all webhooks with their state."""
    settings = settings_module.load_settings()
    webhooks_found = query_database(
        settings,
        open_webhook_store,
        lambda webhooks: webhooks.list_page(after_id=0, limit=ROWS_MAX),
        read_only=True,
        local=local,
    )
    if json_:
        for webhook in webhooks_found:
            print_json(asdict(webhook))
        return
    rows = [
        (
            webhook.id,
            webhook.url,
            _describe_state(webhook),
            f"{webhook.attempts_succeeded:,}",
            f"{webhook.attempts_failed:,}",
            f"{webhook.deliveries_pending:,}",
            f"{webhook.deliveries_dead:,}",
            webhook.last_failure or "",
        )
        for webhook in webhooks_found
    ]
    columns = ("id", "url", "state", "delivered", "failed", "pending", "dead", "last failure")
    print_table(columns, rows)


@app.command()
def show(webhook_id: WebhookId, json_: Json = False, local: LocalDatabase = False) -> None:
    """Show one webhook."""
    webhook = query_database(
        settings_module.load_settings(),
        open_webhook_store,
        lambda webhooks: webhooks.get(webhook_id),
        read_only=True,
        local=local,
    )
    if webhook is None:
        raise _build_unknown_webhook_error(webhook_id)
    if json_:
        print_json(asdict(webhook))
        return
    users = map(str, webhook.user_ids) if webhook.user_ids else ["all"]
    fields = (
        ("id", str(webhook.id)),
        ("url", webhook.url),
        ("event types", ", ".join(webhook.event_types or ["all"])),
        ("users", ", ".join(users)),
        ("created", _format_time(webhook.created_at)),
        ("state", _describe_state(webhook)),
        ("failing since", _format_time(webhook.failing_since)),
        ("successful attempts", f"{webhook.attempts_succeeded:,}"),
        ("failed attempts", f"{webhook.attempts_failed:,}"),
        ("last failure", webhook.last_failure or ""),
        ("last failure at", _format_time(webhook.last_failure_at)),
        ("pending deliveries", f"{webhook.deliveries_pending:,}"),
        ("dead deliveries", f"{webhook.deliveries_dead:,}"),
    )
    print_fields(fields)


@app.command()
def delete(webhook_id: WebhookId, json_: Json = False, local: LocalDatabase = False) -> None:
    """Delete a webhook and its pending deliveries."""
    if not query_database(
        settings_module.load_settings(),
        open_webhook_store,
        lambda webhooks: webhooks.delete(webhook_id),
        local=local,
        recovery_hint=f"`saldo webhooks list` shows whether webhook {webhook_id} still exists; if so, repeat the "
        "command",
    ):
        raise _build_unknown_webhook_error(webhook_id)
    _print_confirmation(webhook_id, "deleted", as_json=json_)


@app.command()
def enable(webhook_id: WebhookId, json_: Json = False, local: LocalDatabase = False) -> None:
    """Enable a webhook.

    Delivery continues at the event at which the webhook was disabled, and pending deliveries are retried immediately.
    """
    _change_webhook(webhook_id, WebhookChange(enabled=True), local=local)
    _print_confirmation(webhook_id, "enabled", as_json=json_)


@app.command()
def disable(webhook_id: WebhookId, json_: Json = False, local: LocalDatabase = False) -> None:
    """Disable a webhook.

    Events are kept, and are delivered when the webhook is enabled again.
    """
    _change_webhook(webhook_id, WebhookChange(enabled=False), local=local)
    _print_confirmation(webhook_id, "disabled", as_json=json_)


@app.command()
def deliveries(
    webhook_id: WebhookId,
    state: Annotated[
        str | None, typer.Option(help="State of the deliveries: pending or dead.")
    ] = None,
    json_: Json = False,
    local: LocalDatabase = False,
) -> None:
    """List pending and dead deliveries, oldest first."""
    parsed_state = _parse_or_fail(lambda: parse_state(state))

    async def list_deliveries(webhooks: Webhooks) -> list[Delivery] | None:
        if await webhooks.get(webhook_id) is None:
            return None
        return await webhooks.list_deliveries(
            webhook_id, after_id=0, state=parsed_state, limit=ROWS_MAX
        )

    found = query_database(
        settings_module.load_settings(),
        open_webhook_store,
        list_deliveries,
        read_only=True,
        local=local,
    )
    if found is None:
        raise _build_unknown_webhook_error(webhook_id)
    if json_:
        for each in found:
            print_json(asdict(each))
        return
    rows = [
        (
            each.uuid,
            each.user_id,
            "dead" if each.dead_at else "pending",
            each.attempts,
            _format_time(each.pending_since),
            "" if each.dead_at else _format_time(each.next_attempt_at),
            each.last_failure or "",
        )
        for each in found
    ]
    columns = (
        "event",
        "user",
        "state",
        "attempts",
        "pending since",
        "next attempt",
        "last failure",
    )
    print_table(columns, rows)
    if len(found) == ROWS_MAX:
        print_line(f"only the first {ROWS_MAX:,} deliveries are shown; the API lists all")


@app.command()
def replay(
    webhook_id: WebhookId,
    event: Annotated[
        str | None,
        typer.Option(help="Id of the event to retry. By default all deliveries are retried."),
    ] = None,
    json_: Json = False,
    local: LocalDatabase = False,
) -> None:
    """Retry dead and pending deliveries immediately."""
    settings = settings_module.load_settings()
    uuid = None if event is None else _parse_or_fail(lambda: parse_uuid(event))

    async def replay_all(webhooks: Webhooks) -> int | None:
        if await webhooks.get(webhook_id) is None:
            return None
        return await webhooks.replay_deliveries(
            webhook_id, uuid, deliveries_max=settings.webhook_pending_max
        )

    replayed = query_database(
        settings,
        open_webhook_store,
        replay_all,
        local=local,
        recovery_hint="repeat the command, which retries the deliveries that still wait",
    )
    if replayed is None:
        raise _build_unknown_webhook_error(webhook_id)
    done = {"id": webhook_id, "replayed": replayed}
    print_confirmation(f"retrying {format_count(replayed, 'delivery')}", done, as_json=json_)


def _parse_or_fail(parse: Callable[[], T]) -> T:
    try:
        return parse()
    except InvalidRequestError as error:
        raise CommandError(str(error), ExitCode.USAGE) from None


def _change_webhook(webhook_id: int, change: WebhookChange, *, local: bool) -> None:
    settings = settings_module.load_settings()
    overlap = timedelta(seconds=settings.webhook_secret_overlap_seconds)
    if not query_database(
        settings,
        open_webhook_store,
        lambda webhooks: webhooks.change(webhook_id, change, previous_secret=overlap),
        local=local,
        recovery_hint=f"`saldo webhooks show {webhook_id}` shows its state; the command can be repeated",
    ):
        raise _build_unknown_webhook_error(webhook_id)


def _print_confirmation(webhook_id: int, state: str, *, as_json: bool) -> None:
    done = {"id": webhook_id, "state": state}
    print_confirmation(f"webhook {webhook_id} is {state}", done, as_json=as_json)


def _build_unknown_webhook_error(webhook_id: int) -> CommandError:
    return CommandError(
        f"there is no webhook {webhook_id}; `saldo webhooks list` lists all webhooks"
    )


def _describe_state(webhook: Webhook) -> str:
    if webhook.disabled_at is not None:
        return f"disabled ({webhook.disabled_reason})"
    return "failing" if webhook.failing_since else "enabled"


def _format_time(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"
