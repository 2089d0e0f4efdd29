"""`saldo balance`: now, at a date, as known at a date, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console

from saldo.cli.clock import optional_instant
from saldo.cli.connecting import Key, KeyFile, Service, Target, Url, connected
from saldo.cli.exits import CommandError, Exit
from saldo.cli.options import Json, UserId
from saldo.cli.output import money, print_json, say
from saldo.cli.plot import Point, drawn

PLOT_DAYS = 30
PLOT_COLUMNS_MAX = 100
"""Each is a question to the service."""


def balance(
    user_id: UserId,
    date: Annotated[
        str | None, typer.Option(help="At this moment, what took effect then included.")
    ] = None,
    known_at: Annotated[
        str | None, typer.Option(help="As it was known then: without what was recorded later.")
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the balance over time.")] = False,
    since: Annotated[
        str | None, typer.Option("--from", help=f"Where the drawing begins: {PLOT_DAYS} days ago.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Where it ends: now.")] = None,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    json_: Json = False,
) -> None:
    """Show a user's balance: now, or at any moment of the past.

    With --plot, --json prints the points that would be drawn, one a line.
    """
    if plot and date is not None:
        raise CommandError("--plot has --from and --to, not --date", Exit.USAGE)
    if not plot and (since is not None or until is not None):
        raise CommandError("--from and --to are for --plot; a moment is --date", Exit.USAGE)
    moment = optional_instant("--date", date)
    known = optional_instant("--known-at", known_at)
    moments = _moments(since, until) if plot else []
    with connected(Target(url, key, key_file)) as service:
        if plot:
            points = _points(service, user_id, moments, known)
        else:
            found = service.client.balance(user_id, date=moment, known_at=known)
    if not plot:
        if json_:
            print_json(found)
        else:
            say(money(found.balance))
        return
    if json_:
        for point in points:
            print_json({"date": point.at, "balance": point.balance})
        return
    for line in drawn(points, Console().width):
        say(line)


def _moments(since: str | None, until: str | None) -> list[datetime]:
    """Those to be drawn, equally far from each other."""
    end = optional_instant("--to", until) or datetime.now(UTC)
    begin = optional_instant("--from", since) or end - timedelta(days=PLOT_DAYS)
    if begin >= end:
        raise CommandError("--from must be before --to", Exit.USAGE)
    count = max(2, min(Console().width - 20, PLOT_COLUMNS_MAX))
    step = (end - begin) / (count - 1)
    return [begin + step * place for place in range(count - 1)] + [end]


def _points(
    service: Service, user_id: int, moments: Sequence[datetime], known: datetime | None
) -> list[Point]:
    return [
        Point(each, service.client.balance(user_id, date=each, known_at=known).balance)
        for each in moments
    ]
