"""Soak test: a steady mixed load, with a check that memory, open files and latency do not grow.

The open-loop generator posts at half of the service's capacity. At the same time a reader requests users, balances,
lists of transactions and metrics over short-lived connections, and a subscriber reads the live stream.
"""

from __future__ import annotations

import http.client
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

import psutil

from benchmarks.bench import RunContext
from benchmarks.load.openloop import Generator, Load, LoadResult, Phase, ResultKind
from benchmarks.load.readers import run_subscribers
from benchmarks.results.report import Row, Series, Target
from benchmarks.scenarios.overload import Driver, generator_core, percentile, pin_to_other_cores
from harness.program.service import ServiceProcess

SHARE = 0.5
"""Rate of the load as a share of the capacity."""

SAMPLES = 60
"""Total number of samples of memory and open files."""

WARM_SHARE = 0.2
WARM_PARTS = 2  # of ten
"""Duration of the warm-up in tenths of the whole time. It is not evaluated, because pools fill and buffers grow in it.

`WARM_SHARE` is the same time as a share of the whole.
"""

CONNECTIONS = 1000
"""Number of connections, which is constant so that the number of open files is comparable."""

READS_PER_SECOND = 50
READS_PER_CONNECTION = 10

MEMORY_TARGET = Target(ratio_at_most=1.05)
FILES_TARGET = Target(ratio_at_most=1.05)
"""Target for the number of open files: the ratio of the fitted line's end to its beginning."""

LATENCY_TARGET = Target(ratio_at_most=1.5)

POSTED_TARGET = Target(at_least=99.9)


@dataclass
class ProcessSamples:
    """The samples of one process: times in seconds, memory in MiB, and numbers of open files."""

    moments: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    files: list[float] = field(default_factory=list)


def measure_soak(bench: RunContext) -> Iterator[Row]:
    """Run the load, and fit lines to the memory and the open files of each process."""
    seconds = bench.scale.soak_seconds
    with (
        bench.ledgers.fresh() as ledger,
        ledger.serve() as service,
        pin_to_other_cores(bench, service),
    ):
        rate = SHARE * Driver(bench, service, fresh=False).capacity()
        load = Load(
            service.url,
            [Phase(seconds, rate)],
            bench.scale.users,
            connections=CONNECTIONS,
            connections_max=CONNECTIONS,
            core=generator_core(),
            seed=30_000,
        )
        with (
            run_subscribers(service.url, [""]) as subscriber,
            _run_reader(service.url, bench.scale.users),
        ):
            generator = Generator(load)
            held = _sample_processes(service, seconds)
            driven = generator.result()
            events = Series([subscriber.events / seconds])
    warm = seconds * WARM_SHARE
    yield Row("soak: single POST", Series([len(driven.due) / seconds]), "/s")
    yield Row("soak: answered 200", Series([_good_percent(driven)]), "%", target=POSTED_TARGET)
    yield Row("soak: events delivered", events, "/s")
    for name, process in held.items():
        yield _growth_row(f"soak: memory, {name}", process.moments, process.megabytes, "MB", warm)
        yield _growth_row(
            f"soak: open files, {name}", process.moments, process.files, "files", warm
        )
    yield from _latencies(driven, seconds)


def _latencies(driven: LoadResult, seconds: float) -> Iterator[Row]:
    """Compare the latencies of the second half with those of the first.

    Percentiles are taken for each tenth of the time (one minute of ten). Then the medians of both halves are compared.
    A fitted line is not used, because one slow minute would tilt it.
    """
    width = seconds / 10
    parts: list[list[float]] = [[] for _ in range(10)]
    for due, latency in zip(driven.due, driven.seconds, strict=True):
        parts[min(9, int(due / width))].append(latency * 1000)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        values = [percentile(part, share) for part in parts][WARM_PARTS:]
        half = len(values) // 2
        first, last = Series(values[:half]), Series(values[half:])
        title = f"soak: {name} of a POST, second half"
        yield Row(title, last, "ms", "first half", first.median, LATENCY_TARGET)


def _growth_row(
    name: str, moments: Sequence[float], values: Sequence[float], unit: str, warm: float
) -> Row:
    """Return a row with the end of the fitted line. Its baseline is the beginning of the line."""
    fitted = [(at, value) for at, value in zip(moments, values, strict=True) if at >= warm]
    slope, intercept = statistics.linear_regression(*zip(*fitted, strict=True))
    first, last = (intercept + slope * fitted[place][0] for place in (0, -1))
    target = MEMORY_TARGET if unit == "MB" else FILES_TARGET
    return Row(name, Series([last]), unit, "after the warm-up", first, target)


def _good_percent(driven: LoadResult) -> float:
    return driven.kinds.count(ResultKind.GOOD) / len(driven.kinds) * 100


def _sample_processes(service: ServiceProcess, seconds: float) -> dict[str, ProcessSamples]:
    """Sample every process of the service until the time is over."""
    root = psutil.Process(service.process.pid)
    names = {root.pid: "the service"}
    for number, child in enumerate(root.children(recursive=True), start=1):
        names[child.pid] = f"child {number}"
    held = {name: ProcessSamples() for name in names.values()}
    began = time.monotonic()
    for sample in range(SAMPLES):
        time.sleep(max(0.0, began + seconds / SAMPLES * (sample + 1) - time.monotonic()))
        for pid, name in names.items():
            process = psutil.Process(pid)
            held[name].moments.append(time.monotonic() - began)
            held[name].megabytes.append(process.memory_info().rss / 2**20)
            held[name].files.append(process.num_fds())
    return held


@contextmanager
def _run_reader(url: str, users: int) -> Iterator[None]:
    """Run a reader in a thread."""
    stopping = threading.Event()
    thread = threading.Thread(target=_read, args=(url, users, stopping.is_set), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _read(url: str, users: int, stopping: Callable[[], bool]) -> None:
    parts = urlsplit(url)
    numbers = count(1)
    while not stopping():
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        with suppress(OSError, http.client.HTTPException):
            for number in numbers:
                for path in _paths(number * 7919 % users + 1):
                    connection.request("GET", path)
                    connection.getresponse().read()
                    time.sleep(1 / READS_PER_SECOND)
                if stopping() or number % READS_PER_CONNECTION == 0:
                    break
        connection.close()


def _paths(user_id: int) -> tuple[str, ...]:
    user = f"/v1/user/{user_id}"
    return (user, f"{user}/balance", f"{user}/transactions?limit=10", "/metrics")
