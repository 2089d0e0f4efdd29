"""Benchmark of the sealer: its cost for a bulk stream, the time to seal it, and the lag under other loads."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import httpx

from benchmarks.bench import RunContext
from benchmarks.cost import ResourceUsage
from benchmarks.load import wrk
from benchmarks.load.workload import Workload
from benchmarks.results.report import Row, Series, Target
from benchmarks.scenarios.single import CONNECTIONS

UNSEALED, SEALED = "bulk, SALDO_SEALS_ENABLED=false", "bulk, SALDO_SEALS_ENABLED=true"

POLL_SECONDS = 0.05

LAG_POLL_SECONDS = 0.25
"""Interval in seconds between two readings of the sealer's lag, each of which costs CPU time."""

IMPORT_PART = 2
"""Divisor of the number of lines for imports, because an import takes several times as long as a stream."""

SECONDS_BEHIND = re.compile(r"^saldo_seals_seconds_behind (\S+)$", re.MULTILINE)


@dataclass
class SealResults:
    """The results of streams that were each sent to a fresh ledger."""

    rate: Series = field(default_factory=Series)
    sealed_after: Series = field(default_factory=Series)
    cost: ResourceUsage = field(default_factory=ResourceUsage)


def measure_seals(bench: RunContext) -> Iterator[Row]:
    """Measure the same stream without and with the sealer, in turns and each into a fresh ledger.

    Then measure the lag of the sealer under single POSTs and under imports.
    """
    workload = bench.workload(bench.scale.bulk_lines)
    found = {UNSEALED: SealResults(), SEALED: SealResults()}
    for _ in range(bench.scale.bulk_runs):
        for name, runs in found.items():
            _run(bench, replace(workload, seed=bench.workload(0).seed), name, runs)
    unsealed, sealed = found[UNSEALED], found[SEALED]
    yield Row(UNSEALED, unsealed.rate, "/s", cost=unsealed.cost)
    yield Row(
        SEALED,
        sealed.rate,
        "/s",
        "unsealed",
        unsealed.rate.median,
        Target(ratio_at_least=0.95),
        sealed.cost,
    )
    yield Row(f"{SEALED}: everything is sealed after", sealed.sealed_after, "ms")
    if wrk.is_installed():
        name = f"single POST, {CONNECTIONS} connections: greatest age of an entry without a seal"
        yield Row(name, _ages_at_singles(bench), "ms", target=Target(at_most=1000))
    rates, ages = _imports(bench)
    yield Row("saldo import", rates, "/s")
    yield Row(
        "saldo import: greatest age of an entry without a seal",
        ages,
        "ms",
        target=Target(at_most=1000),
    )


def _ages_at_singles(bench: RunContext) -> Series:
    """Return the greatest age of an unsealed entry in each round of single POSTs, in milliseconds."""
    greatest = Series()
    with bench.ledgers.fresh() as ledger, ledger.serve() as service:
        for _ in range(bench.scale.rounds):
            _wait_until_sealed(service.url)
            requests = bench.posts(bench.workload(0))
            load = wrk.WrkLoad(service.url, requests, CONNECTIONS)
            drive = partial(wrk.drive, load, bench.scale.seconds)
            greatest.add(_greatest_age(service.url, drive))
            requests.file.unlink()
    return greatest


def _imports(bench: RunContext) -> tuple[Series, Series]:
    """Import files with the command line.

    Returns:
        The rate in rows per second, and the greatest age of an unsealed entry in milliseconds, of each import.
    """
    rates, greatest = Series(), Series()
    with bench.ledgers.fresh() as ledger, ledger.serve() as service:
        for turn in range(bench.scale.bulk_runs):
            _wait_until_sealed(service.url)
            workload = bench.workload(bench.scale.bulk_lines // IMPORT_PART)
            file = bench.directory / f"import-{turn}.ndjson"
            file.write_bytes(bench.body(workload).data)
            command = [sys.executable, "-m", "saldo", "import", str(file), "--url", service.url]
            began = time.perf_counter()
            post = partial(subprocess.run, command, check=True, capture_output=True)
            age = _greatest_age(service.url, post)
            rates.add(workload.lines / (time.perf_counter() - began))
            greatest.add(age)
            file.unlink()
    return rates, greatest


def _greatest_age(url: str, load: Callable[[], Any]) -> float:
    """Return the greatest age of an unsealed entry that is observed under a load, in milliseconds."""
    ages = []
    with ThreadPoolExecutor(1) as beside:
        driving = beside.submit(load)
        while not driving.done():
            ages.append(_seconds_behind(url))
            time.sleep(LAG_POLL_SECONDS)
        driving.result()
    return max(ages) * 1000


def _run(bench: RunContext, workload: Workload, name: str, runs: SealResults) -> None:
    body = bench.body(workload)
    setting = name.rpartition("=")[2]
    with bench.ledgers.fresh() as ledger, ledger.serve(SALDO_SEALS_ENABLED=setting) as service:
        if name == SEALED:
            # Wait until the sealer has started and has sealed the users' entries, which are not to be measured.
            _wait_until_sealed(service.url)
        rate, cost = bench.stream(service, body)
        if name == SEALED:
            began = time.perf_counter()
            _wait_until_sealed(service.url)
            runs.sealed_after.add((time.perf_counter() - began) * 1000)
    runs.rate.add(rate)
    runs.cost += cost


def _wait_until_sealed(url: str) -> None:
    while _seconds_behind(url) > 0:
        time.sleep(POLL_SECONDS)


def _seconds_behind(url: str) -> float:
    found = SECONDS_BEHIND.search(httpx.get(f"{url}/metrics", timeout=60).text)
    assert found is not None
    return float(found[1])
