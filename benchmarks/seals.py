"""What the sealer costs a bulk, how long after it everything is sealed, and how far it is behind other loads."""

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

from benchmarks import wrk
from benchmarks.bench import Bench
from benchmarks.cost import Cost
from benchmarks.report import Row, Series, Target
from benchmarks.single import CONNECTIONS
from benchmarks.workload import Workload

UNSEALED, SEALED = "bulk, SALDO_SEALS=false", "bulk, SALDO_SEALS=true"

POLL_SECONDS = 0.05

LOOK_SECONDS = 0.25
"""Between two looks at how far it is behind, which take processor time themselves."""

IMPORT_PART = 2
"""A file has the lines of a stream, divided by this: it takes several times as long."""

BEHIND = re.compile(r"^saldo_seals_seconds_behind (\S+)$", re.MULTILINE)


@dataclass
class Runs:
    """What streams into ledgers of their own have shown."""

    rate: Series = field(default_factory=Series)
    sealed_after: Series = field(default_factory=Series)
    cost: Cost = field(default_factory=Cost)


def seals(bench: Bench) -> Iterator[Row]:
    """The same stream without and with the sealer, in turns, each into a fresh ledger."""
    workload = bench.workload(bench.scale.bulk_lines)
    found = {UNSEALED: Runs(), SEALED: Runs()}
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
    if wrk.installed():
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


def _ages_at_singles(bench: Bench) -> Series:
    """The greatest age that was seen in each round, milliseconds."""
    greatest = Series()
    with bench.ledgers.fresh() as ledger, ledger.serve() as service:
        for _ in range(bench.scale.rounds):
            _wait_until_sealed(service.url)
            requests = bench.posts(bench.workload(0))
            load = wrk.Load(service.url, requests, CONNECTIONS)
            drive = partial(wrk.drive, load, bench.scale.seconds)
            greatest.add(_greatest_age(service.url, drive))
            requests.file.unlink()
    return greatest


def _imports(bench: Bench) -> tuple[Series, Series]:
    """Rows a second of files that are imported by the command line, and the greatest age in each, milliseconds."""
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
    """The greatest age of an entry without a seal that is seen under a load, milliseconds."""
    ages = []
    with ThreadPoolExecutor(1) as beside:
        driving = beside.submit(load)
        while not driving.done():
            ages.append(_seconds_behind(url))
            time.sleep(LOOK_SECONDS)
        driving.result()
    return max(ages) * 1000


def _run(bench: Bench, workload: Workload, name: str, runs: Runs) -> None:
    body = bench.body(workload)
    setting = name.rpartition("=")[2]
    with bench.ledgers.fresh() as ledger, ledger.serve(SALDO_SEALS=setting) as service:
        if name == SEALED:
            # Its process has started then, and the users are no part of what is measured.
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
    found = BEHIND.search(httpx.get(f"{url}/metrics", timeout=60).text)
    assert found is not None
    return float(found[1])
