"""More requests than the service can hold: what it still answers, how soon it says no, how soon it is well again.

The generator keeps to one processor, service and database to the others: so the generator can offer three times of
what they hold, on the same machine, and takes nothing from them.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import psutil
from tests.acceptance.service import ServiceProcess

from benchmarks.bench import Bench
from benchmarks.openloop import Driven, Kind, Load, Phase, drive
from benchmarks.report import Row, Series, Target

FACTORS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
"""Of the capacity that was found."""

FRESH_FACTORS = (0.5, 1.0, 3.0)
"""With a connection a request."""

RATE_FIRST = 1000.0
RATE_STEP = 1.3
"""The capacity is looked for upwards, until less than `ANSWERED_MIN` of what is offered is answered 200."""

ANSWERED_MIN = 0.9

IN_TIME_SECONDS = 1.0
"""A 200 that comes later is none: it is counted with what is neither. Its latency counts among those of 200."""

LATE_SECONDS_MAX = 0.05
"""So late one of a hundred requests may be sent by the generator's own doing; else the run doesn't count."""

ATTEMPTS = 5

WARM_SECONDS = 1.0
"""At the beginning of each load, not looked at: until the queue is as long as it gets."""

AFTER_SECONDS = 3.0
"""After a load, at half of the capacity."""

WELL_SECONDS = 0.1
"""After it, an answer in such a time, or in twice what one of a hundred takes at half of it, is as good as before."""

TARGETS = {
    "200": Target(ratio_at_least=0.8),
    "p99": Target(at_most=1000),
    "recovery": Target(at_most=1),
}
"""Of the greatest factor."""


class LateError(Exception):
    """The generator could not keep its schedule: the machine had no time for it."""


@dataclass(frozen=True, slots=True)
class Part:
    """What became of the requests that were due in a part of a run. Latencies in seconds, in order."""

    seconds: float
    good: list[float]
    shed: list[float]
    otherwise: int

    @property
    def offered(self) -> int:
        return len(self.good) + len(self.shed) + self.otherwise

    @property
    def in_time(self) -> int:
        """Answered 200 soon enough."""
        return bisect_right(self.good, IN_TIME_SECONDS)


@dataclass
class Found:
    """What one load came to, round after round."""

    good: Series = field(default_factory=Series)
    p50_ms: Series = field(default_factory=Series)
    p99_ms: Series = field(default_factory=Series)
    shed: Series = field(default_factory=Series)
    shed_p50_ms: Series = field(default_factory=Series)
    shed_p99_ms: Series = field(default_factory=Series)
    otherwise: Series = field(default_factory=Series)
    recovery: Series = field(default_factory=Series)

    def add(self, part: Part) -> None:
        self.good.add(part.in_time / part.seconds)
        self.p50_ms.add(percentile(part.good, 0.5) * 1000)
        self.p99_ms.add(percentile(part.good, 0.99) * 1000)
        self.shed.add(len(part.shed) / part.offered * 100)
        neither = part.offered - part.in_time - len(part.shed)
        self.otherwise.add(neither / part.offered * 100)
        if part.shed:
            self.shed_p50_ms.add(percentile(part.shed, 0.5) * 1000)
            self.shed_p99_ms.add(percentile(part.shed, 0.99) * 1000)


class Driver:
    """Drives one service."""

    def __init__(self, bench: Bench, service: ServiceProcess, *, fresh: bool) -> None:
        self._bench = bench
        self._url = service.url
        self._fresh = fresh
        self._seeds = count(10_000 if fresh else 1)

    def drive(self, *phases: Phase) -> Driven:
        """One run that counts.

        Raises:
            LateError: there was none.
        """
        late = 0.0
        for _ in range(ATTEMPTS):
            driven = drive(
                Load(
                    self._url,
                    phases,
                    self._bench.scale.users,
                    fresh=self._fresh,
                    core=generators_core(),
                    seed=next(self._seeds),
                )
            )
            late = percentile(driven.late, 0.99)
            if late <= LATE_SECONDS_MAX:
                return driven
        raise LateError(f"one of a hundred requests was sent {late:.3f} s late, or more")

    def capacity(self) -> float:
        """The most that was answered 200 in a second, at any rate."""
        best, rate = 0.0, RATE_FIRST
        end = WARM_SECONDS + self._bench.scale.seconds
        while rate < self._bench.scale.overload_rate_max:
            part = part_of(self.drive(Phase(end, rate)), WARM_SECONDS, end)
            best = max(best, part.in_time / part.seconds)
            if part.in_time < ANSWERED_MIN * part.offered:
                break
            rate *= RATE_STEP
        return best


def overload(bench: Bench) -> Iterator[Row]:
    """POST /v1/transaction at rates up to three times of what is held."""
    with bench.ledgers.fresh() as ledger, ledger.serve() as service, apart(bench, service):
        yield from _curve(bench, service, FACTORS, "overload", fresh=False)
        yield from _curve(
            bench, service, FRESH_FACTORS, "overload, a connection a request", fresh=True
        )


def _curve(
    bench: Bench, service: ServiceProcess, factors: tuple[float, ...], name: str, *, fresh: bool
) -> Iterator[Row]:
    driver = Driver(bench, service, fresh=fresh)
    capacity = driver.capacity()
    peaks, before, after = Series(), Series(), Series()
    found = {factor: Found() for factor in factors}
    before.add(megabytes(service))
    for _ in range(bench.scale.rounds):
        best = 0.0
        for factor in factors:
            well = _well_seconds(found[factors[0]])
            best = max(
                best, _round(bench, driver, found[factor], factor * capacity, capacity, well)
            )
        peaks.add(best)
    after.add(megabytes(service))
    yield Row(f"{name}: peak, answered 200", peaks, "/s")
    for factor in factors:
        targets = TARGETS if factor == FACTORS[-1] and not fresh else {}
        yield from _rows(f"{name}, {factor:g} times capacity", found[factor], peaks, targets)
    yield Row(f"{name}: memory of the service", after, "MB", "before it", before.median)


def _round(
    bench: Bench, driver: Driver, found: Found, rate: float, capacity: float, well: float
) -> float:
    """One load, then half of the capacity; how much was answered 200 in a second of the load."""
    end = WARM_SECONDS + bench.scale.seconds
    try:
        driven = driver.drive(Phase(end, rate), Phase(AFTER_SECONDS, capacity / 2))
    except LateError as error:
        print(f"{rate:.0f} requests a second: {error}; no figure", file=sys.stderr)
        return 0.0
    part = part_of(driven, WARM_SECONDS, end)
    found.add(part)
    found.recovery.add(recovery(driven, end, well))
    return part.in_time / part.seconds


def _well_seconds(half: Found) -> float:
    return max(WELL_SECONDS, 2 * half.p99_ms.median / 1000) if half.p99_ms.values else WELL_SECONDS


def _rows(name: str, found: Found, peaks: Series, targets: dict[str, Target]) -> Iterator[Row]:
    if not found.good.values:
        return
    yield Row(f"{name}: 200", found.good, "/s", "peak", peaks.median, targets.get("200"))
    yield Row(f"{name}: 200, p50", found.p50_ms, "ms")
    yield Row(f"{name}: 200, p99", found.p99_ms, "ms", target=targets.get("p99"))
    yield Row(f"{name}: 503 with Retry-After", found.shed, "% of all")
    if found.shed_p99_ms.values:
        yield Row(f"{name}: 503, p50", found.shed_p50_ms, "ms")
        yield Row(f"{name}: 503, p99", found.shed_p99_ms, "ms")
    yield Row(f"{name}: neither", found.otherwise, "% of all")
    yield Row(f"{name}: until all is well", found.recovery, "s", target=targets.get("recovery"))


def part_of(driven: Driven, begin: float, end: float) -> Part:
    """The requests that were due in that time."""
    good: list[float] = []
    shed: list[float] = []
    otherwise = 0
    for due, seconds, kind in zip(driven.due, driven.seconds, driven.kinds, strict=True):
        if not begin <= due < end:
            continue
        if kind == Kind.GOOD:
            good.append(seconds)
        elif kind == Kind.SHED:
            shed.append(seconds)
        else:
            otherwise += 1
    return Part(end - begin, sorted(good), sorted(shed), otherwise)


def recovery(driven: Driven, end: float, well_seconds: float) -> float:
    """From the end of the load until the last request that was not answered 200, or not as soon as before."""
    return max(
        (
            due - end
            for due, seconds, kind in zip(driven.due, driven.seconds, driven.kinds, strict=True)
            if due >= end and (kind != Kind.GOOD or seconds > well_seconds)
        ),
        default=0.0,
    )


def percentile(values: Iterable[float], share: float) -> float:
    """0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def megabytes(service: ServiceProcess) -> float:
    """What the service's first process holds now."""
    return float(psutil.Process(service.process.pid).memory_info().rss / 2**20)


def generators_core() -> int | None:
    """The processor that is the generator's alone; None: there is only one, for all."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[-1] if len(cores) > 1 else None


@contextmanager
def apart(bench: Bench, service: ServiceProcess) -> Iterator[None]:
    """Service and database leave the generator its processor."""
    all_cores = os.sched_getaffinity(0)
    core = generators_core()
    pids = (service.process.pid, bench.ledgers.pid)
    if core is not None:
        _keep(pids, all_cores - {core})
    try:
        yield
    finally:
        _keep(pids, all_cores)


def _keep(pids: Iterable[int], cores: set[int]) -> None:
    """Processes with their children and threads; what they start later does as they do."""
    for pid in pids:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                for thread in process.threads():
                    os.sched_setaffinity(thread.id, cores)
