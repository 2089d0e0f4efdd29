"""Benchmark of overload: the remaining throughput, the latency of rejections, and the time to recover.

The generator is bound to one processor, and the service and the database to the others. It can therefore offer three
times the service's capacity on the same machine without taking CPU time from it.
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

from benchmarks.bench import RunContext
from benchmarks.load.openloop import Load, LoadResult, Phase, ResultKind, drive
from benchmarks.results.report import Row, Series, Target
from harness.program.service import ServiceProcess

FACTORS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
"""Loads to measure, as multiples of the measured capacity."""

FRESH_FACTORS = (0.5, 1.0, 3.0)
"""Loads to measure with a new connection per request, as multiples of the capacity."""

RATE_FIRST = 1000.0
RATE_STEP = 1.3
"""Factor between the rates of the search for the capacity.

The search begins at `RATE_FIRST` and ends when less than `ANSWERED_MIN` of the requests get 200 in time.
"""

ANSWERED_MIN = 0.9

SUCCESS_SECONDS_MAX = 1.0
"""Time in seconds within which a response with status 200 counts as a success.

A later response counts as neither 200 nor 503, but its latency is included in the latencies of status 200.
"""

LATE_SECONDS_MAX = 0.05
"""Maximum 99th percentile of the generator's own lateness in seconds. Runs that exceed it are invalid."""

ATTEMPTS = 5

WARM_SECONDS = 1.0
"""Warm-up time of each load in seconds, in which the queue reaches its full length. It is not evaluated."""

AFTER_SECONDS = 3.0
"""Duration in seconds of the phase after each load, at half of the capacity."""

RECOVERED_LATENCY_SECONDS = 0.1
"""Maximum latency in seconds of a response after recovery.

If twice the 99th percentile at half of the capacity is longer, the maximum is that value instead.
"""

TARGETS = {
    "200": Target(ratio_at_least=0.8),
    "p99": Target(at_most=1000),
    "recovery": Target(at_most=1),
}
"""Targets of the load with the greatest factor."""


class LateError(Exception):
    """The error for a generator that could not keep its schedule because the machine had no CPU time for it."""


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """The results of the requests that were due in a part of a run.

    Attributes:
        good: The latencies of the responses with status 200, in seconds, sorted.
        shed: The latencies of the responses with status 503 and `Retry-After`, in seconds, sorted.
        otherwise: The number of all other requests.
    """

    seconds: float
    good: list[float]
    shed: list[float]
    otherwise: int

    @property
    def request_count(self) -> int:
        return len(self.good) + len(self.shed) + self.otherwise

    @property
    def in_time(self) -> int:
        """The number of requests that got 200 in time."""
        return bisect_right(self.good, SUCCESS_SECONDS_MAX)


@dataclass
class LoadResults:
    """The results of one load, with one value per round in each series."""

    good: Series = field(default_factory=Series)
    p50_ms: Series = field(default_factory=Series)
    p99_ms: Series = field(default_factory=Series)
    shed: Series = field(default_factory=Series)
    shed_p50_ms: Series = field(default_factory=Series)
    shed_p99_ms: Series = field(default_factory=Series)
    otherwise: Series = field(default_factory=Series)
    recovery: Series = field(default_factory=Series)

    def add(self, part: PhaseResult) -> None:
        self.good.add(part.in_time / part.seconds)
        self.p50_ms.add(percentile(part.good, 0.5) * 1000)
        self.p99_ms.add(percentile(part.good, 0.99) * 1000)
        self.shed.add(len(part.shed) / part.request_count * 100)
        neither = part.request_count - part.in_time - len(part.shed)
        self.otherwise.add(neither / part.request_count * 100)
        if part.shed:
            self.shed_p50_ms.add(percentile(part.shed, 0.5) * 1000)
            self.shed_p99_ms.add(percentile(part.shed, 0.99) * 1000)


class Driver:
    """A load driver for one service."""

    def __init__(self, bench: RunContext, service: ServiceProcess, *, fresh: bool) -> None:
        self._bench = bench
        self._url = service.url
        self._fresh = fresh
        self._seeds = count(10_000 if fresh else 1)

    def drive(self, *phases: Phase) -> LoadResult:
        """Run the phases until the generator has kept its schedule in a run.

        Raises:
            LateError: The generator was late in all attempts.
        """
        late = 0.0
        for _ in range(ATTEMPTS):
            driven = drive(
                Load(
                    self._url,
                    phases,
                    self._bench.scale.users,
                    fresh=self._fresh,
                    core=generator_core(),
                    seed=next(self._seeds),
                )
            )
            late = percentile(driven.late, 0.99)
            if late <= LATE_SECONDS_MAX:
                return driven
        raise LateError(f"one of a hundred requests was sent {late:.3f} s late, or more")

    def capacity(self) -> float:
        """Increase the request rate step by step, and return the highest number of requests per second that got 200 in
        time."""
        best, rate = 0.0, RATE_FIRST
        end = WARM_SECONDS + self._bench.scale.seconds
        while rate < self._bench.scale.overload_rate_max:
            part = part_of(self.drive(Phase(end, rate)), WARM_SECONDS, end)
            best = max(best, part.in_time / part.seconds)
            if part.in_time < ANSWERED_MIN * part.request_count:
                break
            rate *= RATE_STEP
        return best


def measure_overload(bench: RunContext) -> Iterator[Row]:
    """Measure POST /v1/transaction at rates of up to three times the capacity."""
    with (
        bench.ledgers.fresh() as ledger,
        ledger.serve() as service,
        pin_to_other_cores(bench, service),
    ):
        yield from _curve(bench, service, FACTORS, "overload", fresh=False)
        yield from _curve(
            bench, service, FRESH_FACTORS, "overload, a connection a request", fresh=True
        )


def _curve(
    bench: RunContext,
    service: ServiceProcess,
    factors: tuple[float, ...],
    name: str,
    *,
    fresh: bool,
) -> Iterator[Row]:
    driver = Driver(bench, service, fresh=fresh)
    capacity = driver.capacity()
    peaks, before, after = Series(), Series(), Series()
    results = {factor: LoadResults() for factor in factors}
    before.add(megabytes(service))
    for _ in range(bench.scale.rounds):
        best = 0.0
        for factor in factors:
            well = _well_seconds(results[factors[0]])
            best = max(
                best, _round(bench, driver, results[factor], factor * capacity, capacity, well)
            )
        peaks.add(best)
    after.add(megabytes(service))
    yield Row(f"{name}: peak, answered 200", peaks, "/s")
    for factor in factors:
        targets = TARGETS if factor == FACTORS[-1] and not fresh else {}
        yield from _rows(f"{name}, {factor:g} times capacity", results[factor], peaks, targets)
    yield Row(f"{name}: memory of the service", after, "MB", "before it", before.median)


def _round(
    bench: RunContext,
    driver: Driver,
    results: LoadResults,
    rate: float,
    capacity: float,
    well: float,
) -> float:
    """Run one load, and then half of the capacity.

    Returns:
        The number of requests per second of the load that got 200 in time, or 0 if there was no valid run.
    """
    end = WARM_SECONDS + bench.scale.seconds
    try:
        driven = driver.drive(Phase(end, rate), Phase(AFTER_SECONDS, capacity / 2))
    except LateError as error:
        print(f"{rate:.0f} requests a second: {error}; no figure", file=sys.stderr)
        return 0.0
    part = part_of(driven, WARM_SECONDS, end)
    results.add(part)
    results.recovery.add(recovery(driven, end, well))
    return part.in_time / part.seconds


def _well_seconds(half: LoadResults) -> float:
    return (
        max(RECOVERED_LATENCY_SECONDS, 2 * half.p99_ms.median / 1000)
        if half.p99_ms.values
        else RECOVERED_LATENCY_SECONDS
    )


def _rows(
    name: str, results: LoadResults, peaks: Series, targets: dict[str, Target]
) -> Iterator[Row]:
    if not results.good.values:
        return
    yield Row(f"{name}: 200", results.good, "/s", "peak", peaks.median, targets.get("200"))
    yield Row(f"{name}: 200, p50", results.p50_ms, "ms")
    yield Row(f"{name}: 200, p99", results.p99_ms, "ms", target=targets.get("p99"))
    yield Row(f"{name}: 503 with Retry-After", results.shed, "% of all")
    if results.shed_p99_ms.values:
        yield Row(f"{name}: 503, p50", results.shed_p50_ms, "ms")
        yield Row(f"{name}: 503, p99", results.shed_p99_ms, "ms")
    yield Row(f"{name}: neither", results.otherwise, "% of all")
    yield Row(f"{name}: until all is well", results.recovery, "s", target=targets.get("recovery"))


def part_of(driven: LoadResult, begin: float, end: float) -> PhaseResult:
    """Return the results of the requests that were due in a time range."""
    good: list[float] = []
    shed: list[float] = []
    otherwise = 0
    for due, seconds, kind in zip(driven.due, driven.seconds, driven.kinds, strict=True):
        if not begin <= due < end:
            continue
        if kind == ResultKind.GOOD:
            good.append(seconds)
        elif kind == ResultKind.SHED:
            shed.append(seconds)
        else:
            otherwise += 1
    return PhaseResult(end - begin, sorted(good), sorted(shed), otherwise)


def recovery(driven: LoadResult, end: float, well_seconds: float) -> float:
    """Return the time in seconds from the end of the load to the last request that failed or was slow."""
    return max(
        (
            due - end
            for due, seconds, kind in zip(driven.due, driven.seconds, driven.kinds, strict=True)
            if due >= end and (kind != ResultKind.GOOD or seconds > well_seconds)
        ),
        default=0.0,
    )


def percentile(values: Iterable[float], share: float) -> float:
    """Return a percentile of the values, or 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def megabytes(service: ServiceProcess) -> float:
    """Return the resident memory of the service's main process in MiB."""
    return float(psutil.Process(service.process.pid).memory_info().rss / 2**20)


def generator_core() -> int | None:
    """Return the processor that is reserved for the generator, or None if the machine has only one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[-1] if len(cores) > 1 else None


@contextmanager
def pin_to_other_cores(bench: RunContext, service: ServiceProcess) -> Iterator[None]:
    """Keep the service and the database off the generator's processor."""
    all_cores = os.sched_getaffinity(0)
    core = generator_core()
    pids = (service.process.pid, bench.ledgers.pid)
    if core is not None:
        _pin(pids, all_cores - {core})
    try:
        yield
    finally:
        _pin(pids, all_cores)


def _pin(pids: Iterable[int], cores: set[int]) -> None:
    """Bind processes to processors, with their children and threads. Later children inherit the binding."""
    for pid in pids:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                for thread in process.threads():
                    os.sched_setaffinity(thread.id, cores)
