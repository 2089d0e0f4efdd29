"""`saldo watch` prints events as they happen."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from saldo.cli.connection.service import Key, KeyFile, Local, ServiceOptions, Url, connect
from saldo.cli.options import Json
from saldo.cli.output import (
    create_console,
    escape_control_characters,
    format_amount,
    print_json,
    print_note,
)
from saldo.cli.times import format_time, parse_time_option
from saldo.client.models import Event, EventType, UserData


class EventKind(StrEnum):
    """The types of events, under short names."""

    CREATED = "created"
    POSTED = "posted"
    REFUSED = "refused"


_TYPES: dict[EventKind, EventType] = {
    EventKind.CREATED: "saldo.user.created",
    EventKind.POSTED: "saldo.transaction.posted",
    EventKind.REFUSED: "saldo.transaction.refused",
}


def watch(
    user: Annotated[
        list[int] | None,
        typer.Option(help="Show events of this user only. Repeatable.", min=1),
    ] = None,
    kind: Annotated[
        list[EventKind] | None,
        typer.Option("--type", help="Show events of this type only. Repeatable."),
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            "--from",
            help="Position of the first event: now, start (the beginning of the log) or a time.",
        ),
    ] = "now",
    count: Annotated[
        int | None,
        typer.Option(
            help="Number of events after which the command ends. By default it runs until Ctrl-C.",
            min=1,
        ),
    ] = None,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    local: Local = False,
    json_: Json = False,
) -> None:
    """Print events as they are recorded, until Ctrl-C.

    If the connection is lost, the command reconnects and continues after the last event, so that no event is missed.
    """
    start = since if since in {"now", "start"} else parse_time_option("--from", since)
    types = None if not kind else [_TYPES[each] for each in kind]
    with connect(ServiceOptions(url, key, key_file, local)) as service:
        for user_id in user or ():
            # No event would ever come for a user that does not exist.
            service.client.user(user_id)
        print_event: Callable[[Event], None] = print_json_event if json_ else _EventPrinter().print
        events = service.client.events(user_ids=user or None, types=types, start=start)
        print_note("saldo: watching for events; press Ctrl-C to stop")
        for number, event in enumerate(events, start=1):
            print_event(event)
            if number == count:
                return


def print_json_event(event: Event) -> None:
    """Print an event as a line of JSON."""
    print_json(event)


class _EventPrinter:
    """Prints events in columns of fixed width, because the widths of later events are not known yet."""

    def __init__(self) -> None:
        self._console = create_console()
        self._console.print(
            f"{'time':<20} {'user':>7} {'number':>7} {'what':<16} {'amount':>15} {'balance':>15}",
            style="bold",
            soft_wrap=True,
        )

    def print(self, event: Event) -> None:
        """Print an event as a line of text."""
        data = event.data
        if isinstance(data, UserData):
            event_name, amount, style, balance = (
                "created",
                escape_control_characters(data.name),
                "cyan",
                data.balance,
            )
        else:
            posted = data.outcome == "posted"
            deposited = data.type == "DEPOSIT"
            kind = "deposit" if deposited else "withdraw"
            event_name = kind if posted else f"refused {kind}"
            style = ("green" if deposited else "yellow") if posted else "red"
            amount, balance = (
                format_amount(data.amount),
                data.balance,
            )
        line = Text(f"{format_time(event.time):<20} {event.user_id:>7} {data.number:>7} ")
        line.append(f"{event_name:<16}", style=style)
        line.append(f" {amount:>15} {format_amount(balance):>15}")
        self._console.print(line, soft_wrap=True)
