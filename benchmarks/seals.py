"""What the sealer costs a bulk, how long after it everything is sealed, and how far it is behind single requests."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

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
        yield Row(name, _ages(bench), "ms", target=Target(at_most=1000))


def _ages(bench: Bench) -> Series:
    """The greatest age that was seen in each round, milliseconds."""
    greatest = Series()
    with bench.ledgers.fresh() as ledger, ledger.serve() as service:
        for _ in range(bench.scale.rounds):
            _wait_until_sealed(service.url)
            requests = bench.posts(bench.workload(0))
            load = wrk.Load(service.url, requests, CONNECTIONS)
            with ThreadPoolExecutor(1) as beside:
                driving = beside.submit(wrk.drive, load, bench.scale.seconds)
                ages = []
                while not driving.done():
                    ages.append(_seconds_behind(service.url))
                    time.sleep(LOOK_SECONDS)
                driving.result()
            requests.file.unlink()
            greatest.add(max(ages) * 1000)
    return greatest


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
