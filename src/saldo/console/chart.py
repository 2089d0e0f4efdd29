"""The balance of a user over time, as points for a chart.

A point is a moment and the balance from then on, until the next: with everything that took effect by then, late entries
at their place. A range with few enough entries is shown entry by entry; if that gives more points than fit, the first,
last, lowest and highest of each of equal parts are kept, which draws the same picture (M4: Jugel et al., "M4: A
Visualization-Oriented Time Series Data Aggregation", VLDB 2014). A range with more entries is sampled: the balance is
asked for at moments at equal distances, each of them exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import msgspec
from litestar import Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from saldo.console.account import user_of
from saldo.console.page import Given, Page, query_of, shows
from saldo.console.users import USERS_PATH
from saldo.http.wire import Fault, InvalidError
from saldo.ledger.time import INSTANT_MAX, INSTANT_MIN, MICROSECOND
from saldo.store.charts import LATE_ENTRIES_MAX, Change, Charts

SAMPLES_MAX: Final = 1000
"""Moments at which a balance is asked for: at 0.2 ms each, a fifth of a second."""

POINTS_OF_PART: Final = 4
MARGIN: Final = 0.02
"""Of the whole range, on both sides, so that the first and the last change are seen."""

_encode: Final = msgspec.json.Encoder().encode

How = Literal["exact", "thinned", "sampled"]
GivenCharts = NamedDependency[Charts]


class Point(NamedTuple):
    """From this moment on the balance is this, minor units."""

    moment: datetime
    balance: int


class Drawn(NamedTuple):
    """Points of a range, and how they were come by. counted: changes, or moments of samples."""

    points: list[Point]
    how: How
    counted: int


@shows(f"{USERS_PATH}/{{user_id:str}}/chart")
async def show_chart(page: Given, charts: GivenCharts, user_id: FromPath[str]) -> Response[bytes]:
    """At most so many points (SALDO_CONSOLE_CHART_POINTS_MAX) of a range; without one, of all."""
    user = await user_of(page, user_id)
    asked = query_of(page.request, "from", "to")
    now = datetime.now(UTC)
    span = await charts.span(user.id)
    if span is None or span.first is None or span.last is None:
        return _answer(page, now - timedelta(days=1), now, Drawn([], "exact", 0), ever=False)
    if asked:
        since, until = (_moment(asked, name) for name in ("from", "to"))
        if since >= until:
            raise InvalidError([Fault("to", "must be after from")])
    else:
        whole = max(now, span.last)
        margin = max((whole - span.first) * MARGIN, timedelta(seconds=1))
        since, until = span.first - margin, whole
    # After the last change nothing is to be read, and nothing is known of what comes.
    drawn = await _drawn(page, charts, user.id, since, min(until, max(now, span.last)))
    return _answer(page, since, until, drawn)


HANDLERS = [show_chart]


async def _drawn(
    page: Page, charts: Charts, user_id: int, since: datetime, until: datetime
) -> Drawn:
    settings = page.service.settings
    if until <= since:
        return Drawn([], "exact", 0)
    bounds = await charts.bounds(user_id, since, until)
    assert bounds is not None
    points_max = settings.console_chart_points_max
    if bounds.entries > settings.console_chart_entries_max or bounds.late > LATE_ENTRIES_MAX:
        moments = list(_spread(since, until, min(SAMPLES_MAX, points_max)))
        balances = await charts.sampled(user_id, moments)
        return Drawn(list(map(Point, moments, balances)), "sampled", len(moments))
    # The balance first: what is recorded between the two questions is then missing at the end, not counted twice.
    before = await page.service.reader.balance(user_id, since, None) or 0
    changes = await charts.changes(user_id, bounds, since, until)
    points = [Point(since, before), *added_up(before, changes)]
    points.append(Point(until, points[-1].balance))
    if len(points) <= points_max:
        return Drawn(points, "exact", len(changes))
    return Drawn(thinned(points, points_max), "thinned", len(changes))


def added_up(balance: int, changes: Sequence[Change]) -> Iterator[Point]:
    """The balance after each change; of those at the same moment, after the last."""
    for index, change in enumerate(changes):
        balance += change.amount
        if index + 1 == len(changes) or changes[index + 1].timestamp != change.timestamp:
            yield Point(change.timestamp, balance)


def thinned(points: Sequence[Point], points_max: int) -> list[Point]:
    """Of equal parts of the time the first, last, lowest and highest point of each; the very first and last stay."""
    first, last = points[0].moment, points[-1].moment
    parts = max(1, points_max // POINTS_OF_PART)
    width = (last - first) / parts or MICROSECOND
    kept: list[Point] = []
    of_part: list[Point] = []
    part = 0
    for point in points:
        its_part = min(int((point.moment - first) / width), parts - 1)
        if its_part != part and of_part:
            kept += _outline(of_part)
            of_part = []
        part = its_part
        of_part.append(point)
    return kept + _outline(of_part)


def _outline(points: Sequence[Point]) -> list[Point]:
    """At most four of them, in their order."""
    lowest = min(range(len(points)), key=lambda index: points[index].balance)
    highest = max(range(len(points)), key=lambda index: points[index].balance)
    return [points[index] for index in sorted({0, lowest, highest, len(points) - 1})]


def _spread(since: datetime, until: datetime, count: int) -> Iterator[datetime]:
    step = (until - since) / (count - 1)
    for index in range(count - 1):
        yield since + step * index
    yield until


def _moment(asked: dict[str, str], name: str) -> datetime:
    """An edge of a chart: seconds since the epoch, as charts count. Beyond the years of the ledger: their edge."""
    try:
        seconds = float(asked[name])
        found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except KeyError:
        raise InvalidError([Fault(name, "is missing")]) from None
    except (ValueError, OverflowError):
        raise InvalidError([Fault(name, "must be seconds since 1970")]) from None
    return min(max(found, INSTANT_MIN), INSTANT_MAX)


def _answer(
    page: Page, since: datetime, until: datetime, drawn: Drawn, *, ever: bool = True
) -> Response[bytes]:
    """Balances as text, which is exact; the numbers are for drawing only. ever: whether it has changed at all."""
    formats, words = page.formats, page.words
    counted = {
        "exact": words.chart_exact,
        "thinned": words.chart_thinned,
        "sampled": words.chart_sampled,
    }[drawn.how]
    if not drawn.points:
        said = words.chart_ahead if ever else words.chart_empty
    else:
        said = counted.of(drawn.counted, formats.count(drawn.counted))
    body: dict[str, Any] = {
        "from": since.timestamp(),
        "to": until.timestamp(),
        "how": drawn.how,
        "said": said,
        "times": [point.moment.timestamp() for point in drawn.points],
        "balances": [
            {"plain": formats.plain(point.balance), "text": formats.money(point.balance)}
            for point in drawn.points
        ],
    }
    return Response(_encode(body), media_type="application/json")
