"""`saldo balance` prints a balance: now, at a date, or as known at an earlier time. It can also draw a chart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from saldo.cli.balance_plot import PlotPoint, draw_chart
from saldo.cli.connection.service import (
    ConnectedService,
    Key,
    KeyFile,
    Local,
    ServiceOptions,
    Url,
    connect,
)
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json, UserId
from saldo.cli.output import create_console, format_amount, print_json, print_line
from saldo.cli.times import parse_optional_time

PLOT_DAYS = 30
PLOT_COLUMNS_MAX = 100
"""Maximum number of columns of the chart. Each column needs a request to the service."""


def balance(
    user_id: UserId,
    date: Annotated[
        str | None,
        typer.Option(
            help="Balance at this time, including transactions that take effect at exactly this time."
        ),
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(
            help="Balance as it was known at this time, without transactions that were recorded later."
        ),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the balance over time.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--from", help=f"Start of the chart. The default is {PLOT_DAYS} days ago."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="End of the chart. The default is the current time.")
    ] = None,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    local: Local = False,
    json_: Json = False,
) -> None:
    """Show a user's balance, now or at a past time.

    With --plot, the balance is drawn as a chart. With --plot and --json, its points are printed, one per line.
    """
    if plot and date is not None:
        raise CommandError(
            "--date can't be combined with --plot: use --from and --to", ExitCode.USAGE
        )
    if not plot and (since is not None or until is not None):
        raise CommandError(
            "--from and --to require --plot; use --date for the balance at one time", ExitCode.USAGE
        )
    moment = parse_optional_time("--date", date)
    known_time = parse_optional_time("--known-at", known_at)
    moments = _compute_chart_times(since, until) if plot else []
    with connect(ServiceOptions(url, key, key_file, local)) as service:
        if plot:
            points = _read_points(service, user_id, moments, known_time)
        else:
            balance_at_date = service.client.balance(user_id, date=moment, known_at=known_time)
    if not plot:
        if json_:
            print_json(balance_at_date)
        else:
            print_line(format_amount(balance_at_date.balance))
        return
    if json_:
        for point in points:
            print_json({"date": point.at, "balance": point.balance})
        return
    for line in draw_chart(points, create_console().width):
        print_line(line)


def _compute_chart_times(since: str | None, until: str | None) -> list[datetime]:
    """Return the times to be drawn, at equal intervals."""
    end = parse_optional_time("--to", until) or datetime.now(UTC)
    begin = parse_optional_time("--from", since) or end - timedelta(days=PLOT_DAYS)
    if begin >= end:
        raise CommandError("--from must be before --to", ExitCode.USAGE)
    count = max(2, min(create_console().width - 20, PLOT_COLUMNS_MAX))
    step = (end - begin) / (count - 1)
    return [begin + step * index for index in range(count - 1)] + [end]


def _read_points(
    service: ConnectedService, user_id: int, times: Sequence[datetime], known_at: datetime | None
) -> list[PlotPoint]:
    return [
        PlotPoint(each, service.client.balance(user_id, date=each, known_at=known_at).balance)
        for each in times
    ]
