"""Benchmarks of balances at random dates of a user with a long history, and of a growing ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

from benchmarks.bench import RunContext
from benchmarks.ledgers import Ledger, read_statement
from benchmarks.results.report import Row, Series, Target
from benchmarks.scenarios.bulk import FRESH

LATE_BY = timedelta(days=30)
LATE_SHARE = 0.01
HISTORY = timedelta(days=730)


def measure_balances_at_dates(bench: RunContext) -> Iterator[Row]:
    """Measure balances at a date in a ledger that contains only the entries of one user."""
    with bench.ledgers.fresh() as ledger:
        ends_at = _post_history(bench, ledger)
        yield from _query_rows(bench, ledger, ends_at, "", Target(at_most=2), Target(at_most=25))


def measure_growth(bench: RunContext) -> Iterator[Row]:
    """Grow one ledger by streams, measure further streams into it, and then measure balances at a date."""
    scale = bench.scale
    entries = scale.growth_lines * scale.growth_steps
    with bench.ledgers.fresh() as ledger:
        with ledger.serve() as service:
            for step in range(scale.growth_steps):
                body = bench.body(bench.workload(scale.growth_lines))
                rate, cost = bench.stream(service, body)
                before = step * scale.growth_lines
                yield Row(f"growing, from {before:,} entries on", Series([rate]), "/s", cost=cost)
        for version in (4, 7):
            yield _grown_ledger_row(bench, ledger, entries, version)
        ends_at = _post_history(bench, ledger)
        target = Target(ratio_at_most=1.5)
        label = f", {entries:,} others in the table"
        yield from _query_rows(bench, ledger, ends_at, label, target, target)


def _grown_ledger_row(bench: RunContext, ledger: Ledger, entries: int, version: int) -> Row:
    """Measure streams into the grown ledger. The baseline is the same stream into a fresh ledger."""
    rates = Series()
    workload = replace(
        bench.workload(bench.scale.growth_lines), uuid_version=7 if version == 7 else 4
    )
    with ledger.serve() as service:
        total = None
        for _ in range(bench.scale.grown_runs):
            body = bench.body(replace(workload, seed=bench.workload(0).seed))
            rate, cost = bench.stream(service, body)
            rates.add(rate)
            total = cost if total is None else total + cost
    fresh = FRESH if version == 4 else f"{FRESH}, uuid 7"
    name = f"bulk, {entries:,} entries there" + ("" if version == 4 else ", uuid 7")
    target = Target(ratio_at_least=0.6)
    return Row(name, rates, "/s", "fresh ledger", bench.median_of(fresh), target, total)


def _post_history(bench: RunContext, ledger: Ledger) -> datetime:
    """Post a long history of one user through the service. Returns the time at which the history ends."""
    ends_at = datetime.now(UTC)
    workload = replace(
        bench.workload(bench.scale.history_entries),
        users=1,
        first_user=ledger.history_user,
        late=LATE_SHARE,
        late_by=LATE_BY,
        history=HISTORY,
        ends_at=ends_at,
    )
    with ledger.serve() as service:
        bench.stream(service, bench.body(workload))
    return ends_at


def _query_rows(
    bench: RunContext,
    ledger: Ledger,
    ends_at: datetime,
    label: str,
    bounded: Target,
    unbounded: Target,
) -> Iterator[Row]:
    """Measure balances at a date, with and without a limit on lateness, and with `known_at` at random times.

    The time is measured in the database.
    """
    entries = f"{bench.scale.history_entries:,} entries"
    for bound, title, target in (
        (LATE_BY, "max_lateness 30 days", bounded),
        (None, "any lateness", unbounded),
    ):
        ledger.set_max_lateness(bound)
        now, then = _times(bench, ledger, ends_at)
        name = f"balance at a date, {entries}, {title}"
        small = bench.median_of(name) if label else None
        limit = f"{entries} in the table" if label else ""
        yield Row(name + label, now, "ms", limit, small, target)
        held = Target(ratio_at_most=2)
        yield Row(f"{name}, known_at{label}", then, "ms", "without known_at", now.median, held)


def _times(bench: RunContext, ledger: Ledger, ends_at: datetime) -> tuple[Series, Series]:
    """Return the duration of each query in milliseconds, first without `known_at`, then with `known_at`."""
    random = Random(bench.workload(0).seed)
    count = bench.scale.questions
    moments = [ends_at - HISTORY * random.random() for _ in range(count)]
    ((first, last),) = ledger.query("recorded_between", ledger.history_user)
    known_ats = [first + (last - first) * random.random() for _ in range(count)]
    with ledger.connect() as connection:
        connection.execute(read_statement("balance_timer").encode())
        series = []
        for known in ([None] * count, known_ats):
            # The first run loads the pages into the cache, in which the pages of an active user already are.
            for _ in range(2):
                arguments = (ledger.history_user, moments, known)
                rows = connection.execute(
                    read_statement("balance_times").encode(), arguments
                ).fetchall()
            series.append(Series([row[0] for row in rows]))
    return series[0], series[1]
