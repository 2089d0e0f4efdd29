"""`saldo watch`: every event as it happens."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from saldo.cli.clock import instant, shown
from saldo.cli.connecting import Key, KeyFile, Target, Url, connected
from saldo.cli.options import Json
from saldo.cli.output import money, note, print_json
from saldo.client.models import Event, EventType, UserData


class Kind(StrEnum):
    """The types of events, short."""

    CREATED = "created"
    POSTED = "posted"
    REFUSED = "refused"


_TYPES: dict[Kind, EventType] = {
    Kind.CREATED: "saldo.user.created",
    Kind.POSTED: "saldo.transaction.posted",
    Kind.REFUSED: "saldo.transaction.refused",
}


def watch(
    user: Annotated[
        list[int] | None,
        typer.Option(help="Only of this user; may be given several times.", min=1),
    ] = None,
    kind: Annotated[
        list[Kind] | None,
        typer.Option("--type", help="Only of this type; may be given several times."),
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            "--from", help="now; start: everything there is, first; or a time: what came from then."
        ),
    ] = "now",
    count: Annotated[
        int | None, typer.Option(help="End after so many. Not given: at Ctrl-C.", min=1)
    ] = None,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    json_: Json = False,
) -> None:
    """Show events as they happen, until Ctrl-C.

    When the connection is lost it is made again, and goes on after the last event: none is left out.
    """
    start = since if since in {"now", "start"} else instant("--from", since)
    types = None if not kind else [_TYPES[each] for each in kind]
    with connected(Target(url, key, key_file)) as service:
        for user_id in user or ():
            # Of one that there is not nothing would ever come.
            service.client.user(user_id)
        print_event: Callable[[Event], None] = print_json_event if json_ else _Lines().print
        events = service.client.events(user_ids=user or None, types=types, start=start)
        note("saldo: watching; Ctrl-C ends it")
        for seen, event in enumerate(events, start=1):
            print_event(event)
            if seen == count:
                return


def print_json_event(event: Event) -> None:
    """A line."""
    print_json(event)


class _Lines:
    """Columns that fit whatever comes; a table could not be drawn before it has ended."""

    def __init__(self) -> None:
        self._console = Console()
        self._console.print(
            f"{'time':<20} {'user':>7} {'number':>7} {'what':<8} {'amount':>15} {'balance':>15}",
            style="bold",
            soft_wrap=True,
        )

    def print(self, event: Event) -> None:
        """A line."""
        data = event.data
        if isinstance(data, UserData):
            what, amount, style, balance = "created", data.name, "cyan", data.balance
        else:
            posted = data.outcome == "posted"
            deposited = data.type == "DEPOSIT"
            what = ("deposit" if deposited else "withdraw") if posted else "refused"
            style = ("green" if deposited else "yellow") if posted else "red"
            amount, balance = money(data.amount if deposited else -data.amount), data.balance
        line = Text(f"{shown(event.time):<20} {event.user_id:>7} {data.number:>7} ")
        line.append(f"{what:<8}", style=style)
        line.append(f" {amount:>15} {money(balance):>15}")
        self._console.print(line, soft_wrap=True)
