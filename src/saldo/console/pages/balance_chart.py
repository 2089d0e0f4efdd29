"""The balance of a user over time, as points for a chart.

A point is a time and the balance from that time until the next point. The balance includes all entries that took effect
up to that time, and late entries count from their timestamps. If a range has few entries, the chart has a point for
each entry. If there are more points than the limit, the range is divided into equal parts, and only the first, last,
lowest and highest point of each part are kept. The drawn line stays the same (M4: Jugel et al., "M4: A
Visualization-Oriented Time Series Data Aggregation", VLDB 2014). If a range has too many entries to read, the balances
at equally spaced times are read instead. Each of these balances is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from litestar import Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from saldo.console.page import (
    ConsolePage,
    InjectedPage,
    LocalizedFault,
    page_route,
    parse_query,
)
from saldo.console.pages.user import get_user
from saldo.console.pages.users import USERS_PATH
from saldo.encoding.json import encode_json
from saldo.ledger.instants import INSTANT_MAX, INSTANT_MIN, MICROSECOND
from saldo.parsing.faults import InvalidField, InvalidRequestError
from saldo.store.charts import LATE_ENTRIES_MAX, BalanceChange, Charts

SAMPLES_MAX: Final = 1000
"""Maximum number of sampled balances. To read one takes 0.2 ms, so to read 1000 takes 0.2 s."""

POINTS_PER_PART: Final = 4
MARGIN: Final = 0.02
"""Margin before the first change, as a share of the whole range, so that the first change is visible."""


ChartMethod = Literal["exact", "thinned", "sampled"]
InjectedCharts = NamedDependency[Charts]


class BalancePoint(NamedTuple):
    """A time and the balance in minor units from that time on."""

    moment: datetime
    balance: int


class ChartPoints(NamedTuple):
    """The points of a range, and the method that produced them.

    Attributes:
        number: The number of changes in the range, or the number of samples.
    """

    points: list[BalancePoint]
    method: ChartMethod
    number: int


@page_route(f"{USERS_PATH}/{{user_id:str}}/chart")
async def show_chart(
    page: InjectedPage, charts: InjectedCharts, user_id: FromPath[str]
) -> Response[bytes]:
    """Return the points of a range, or of the whole history if the query has no range.

    The number of points is limited by `SALDO_CONSOLE_CHART_POINTS_MAX`.
    """
    user = await get_user(page, user_id)
    values = parse_query(page.request, "from", "to")
    now = datetime.now(UTC)
    span = await charts.read_time_span(user.id)
    if span is None or span.first is None or span.last is None:
        return _render_points(
            page, now - timedelta(days=1), now, ChartPoints([], "exact", 0), has_changes=False
        )
    if values:
        since, until = (_parse_moment(values, name) for name in ("from", "to"))
        if since >= until:
            raise InvalidRequestError([LocalizedFault("to", page.messages.range_is_empty)])
    else:
        end = max(now, span.last)
        margin = max((end - span.first) * MARGIN, timedelta(seconds=1))
        since, until = span.first - margin, end
    # The line ends now, or at the last change if its timestamp is in the future. There are no entries after that time.
    chart_points = await _read_points(page, charts, user.id, since, min(until, max(now, span.last)))
    return _render_points(page, since, until, chart_points)


HANDLERS = [show_chart]


async def _read_points(
    page: ConsolePage, charts: Charts, user_id: int, since: datetime, until: datetime
) -> ChartPoints:
    settings = page.service.settings
    if until <= since:
        return ChartPoints([], "exact", 0)
    bounds = await charts.read_number_range(user_id, since, until)
    assert bounds is not None
    points_max = settings.console_chart_points_max
    if (
        bounds.entry_count_max > settings.console_chart_entries_max
        or bounds.late > LATE_ENTRIES_MAX
    ):
        moments = list(_generate_equally_spaced_times(since, until, min(SAMPLES_MAX, points_max)))
        balances = await charts.list_balances_at(user_id, moments)
        return ChartPoints(list(map(BalancePoint, moments, balances)), "sampled", len(moments))
    # The balance is read first. An entry that is recorded between the two queries is then not counted twice.
    before = await page.service.reader.read_balance(user_id, since, None) or 0
    changes = await charts.list_balance_changes(user_id, bounds, since, until)
    points = [BalancePoint(since, before), *accumulate_balances(before, changes)]
    points.append(BalancePoint(until, points[-1].balance))
    if len(points) <= points_max:
        return ChartPoints(points, "exact", len(changes))
    return ChartPoints(downsample(points, points_max), "thinned", len(changes))


def accumulate_balances(balance: int, changes: Sequence[BalanceChange]) -> Iterator[BalancePoint]:
    """Yield the balance after each change. Changes with the same timestamp give one point."""
    for index, change in enumerate(changes):
        balance += change.amount
        if index + 1 == len(changes) or changes[index + 1].timestamp != change.timestamp:
            yield BalancePoint(change.timestamp, balance)


def downsample(points: Sequence[BalancePoint], points_max: int) -> list[BalancePoint]:
    """Divide the time range into equal parts, and keep the first, last, lowest and highest point of each part.

    The first and the last point of the range are always kept.
    """
    first, last = points[0].moment, points[-1].moment
    parts = max(1, points_max // POINTS_PER_PART)
    width = (last - first) / parts or MICROSECOND
    kept_points: list[BalancePoint] = []
    part_points: list[BalancePoint] = []
    part = 0
    for point in points:
        point_part = min(int((point.moment - first) / width), parts - 1)
        if point_part != part and part_points:
            kept_points += _find_extreme_points(part_points)
            part_points = []
        part = point_part
        part_points.append(point)
    return kept_points + _find_extreme_points(part_points)


def _find_extreme_points(points: Sequence[BalancePoint]) -> list[BalancePoint]:
    """Return the first, last, lowest and highest point, each once and in the order of time."""
    lowest = min(range(len(points)), key=lambda index: points[index].balance)
    highest = max(range(len(points)), key=lambda index: points[index].balance)
    return [points[index] for index in sorted({0, lowest, highest, len(points) - 1})]


def _generate_equally_spaced_times(
    since: datetime, until: datetime, count: int
) -> Iterator[datetime]:
    step = (until - since) / (count - 1)
    for index in range(count - 1):
        yield since + step * index
    yield until


def _parse_moment(values: dict[str, str], name: str) -> datetime:
    """Parse the start or the end of the range, in seconds since the epoch. The result is clamped to the ledger's
    range."""
    try:
        seconds = float(values[name])
        instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except KeyError:
        raise InvalidRequestError([InvalidField(name, "is missing")]) from None
    except (ValueError, OverflowError):
        raise InvalidRequestError([InvalidField(name, "must be seconds since 1970")]) from None
    return min(max(instant, INSTANT_MIN), INSTANT_MAX)


def _render_points(
    page: ConsolePage,
    since: datetime,
    until: datetime,
    chart_points: ChartPoints,
    *,
    has_changes: bool = True,
) -> Response[bytes]:
    """Return the points as JSON. Balances are strings, which are exact. Scripts convert them to numbers only for
    drawing.

    Args:
        has_changes: Whether the balance has ever changed.
    """
    formatter, messages = page.formatter, page.messages
    summary = {
        "exact": messages.chart_exact,
        "thinned": messages.chart_thinned,
        "sampled": messages.chart_sampled,
    }[chart_points.method]
    if not chart_points.points:
        text = messages.chart_ahead if has_changes else messages.chart_empty
    else:
        text = summary.format(chart_points.number, formatter.format_count(chart_points.number))
    body: dict[str, Any] = {
        "from": since.timestamp(),
        "to": until.timestamp(),
        "how": chart_points.method,
        "summary": text,
        "times": [point.moment.timestamp() for point in chart_points.points],
        "balances": [
            {
                "plain": formatter.format_api_amount(point.balance),
                "text": formatter.format_money(point.balance),
            }
            for point in chart_points.points
        ],
    }
    return Response(encode_json(body), media_type="application/json")
