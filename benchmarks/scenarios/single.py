"""Benchmark of single HTTP requests by number of connections. The baseline is a bare echo of the same JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from secrets import token_hex

from benchmarks.bench import RunContext
from benchmarks.cost import ResourceUsage
from benchmarks.ledgers import Ledger
from benchmarks.load import wrk
from benchmarks.load.workload import Workload
from benchmarks.results.report import Row, Series, Target
from benchmarks.scenarios import limits
from harness.ports import find_free_ports
from harness.program.service import ServiceProcess

CONNECTIONS = 64
"""Number of connections in benchmarks that do not vary this number."""

PATHS = 100_000
"""Number of paths of GETs before they repeat."""

POST_TARGETS = {
    64: Target(at_least=5000, ratio_at_least=0.4),
    256: Target(at_least=8000, ratio_at_least=0.4),
}
POST_P99_TARGETS = {64: Target(at_most=50)}


@dataclass
class Rounds:
    """The measurements of wrk, with one value per round in each series."""

    rate: Series = field(default_factory=Series)
    p50_ms: Series = field(default_factory=Series)
    p99_ms: Series = field(default_factory=Series)
    cost: ResourceUsage = field(default_factory=ResourceUsage)

    def add(self, driven: wrk.WrkResult, cost: ResourceUsage) -> None:
        self.rate.add(driven.rate)
        self.p50_ms.add(driven.p50_ms)
        self.p99_ms.add(driven.p99_ms)
        self.cost += cost


def measure_machine_limits(bench: RunContext) -> Iterator[Row]:
    """Measure round trips to the database and fsync on this machine."""
    trips, syncs = Series(), Series()
    with bench.ledgers.fresh() as ledger:
        for _ in range(bench.scale.rounds):
            trips.add(limits.round_trip_rate(ledger, 1.0))
            syncs.add(limits.sync_rate(bench.ledgers.data_directory, 1.0))
    yield Row("SELECT 1, one after the other", trips, "/s")
    yield Row("fsync of a page, one after the other", syncs, "/s")


def measure_single_requests(bench: RunContext) -> Iterator[Row]:
    """Measure POST /v1/transaction with uniformly distributed users."""
    with (
        bench.ledgers.fresh() as ledger,
        ledger.serve() as service,
        limits.run_echo(*find_free_ports(1)) as echo,
    ):
        for connections in bench.scale.connections:
            ours, bare = _posts(bench, service, echo, connections)
            name = f"single POST, {connections} connections"
            yield Row(
                name,
                ours.rate,
                "/s",
                "bare echo",
                bare.rate.median,
                POST_TARGETS.get(connections),
                ours.cost,
            )
            yield Row(f"bare echo, {connections} connections", bare.rate, "/s", cost=bare.cost)
            yield Row(f"{name}: p50", ours.p50_ms, "ms", "bare echo", bare.p50_ms.median)
            target = POST_P99_TARGETS.get(connections)
            yield Row(f"{name}: p99", ours.p99_ms, "ms", "bare echo", bare.p99_ms.median, target)
            if connections == 1:
                syncs = bench.median_of("fsync of a page, one after the other")
                yield Row(f"{name}: against the disk", ours.rate, "/s", "fsync", syncs)


def measure_distributions(bench: RunContext) -> Iterator[Row]:
    """Measure a hot user and a Zipf distribution with refusals and replays, at 64 connections."""
    plain = bench.workload(0)
    workloads = {
        "uniform": plain,
        "one hot user": replace(plain, spread="hot"),
        "Zipf, 5 % refused, 5 % replays": replace(
            plain, spread="zipf", refusals=0.05, replays=0.05
        ),
    }
    found = {name: Rounds() for name in workloads}
    with bench.ledgers.fresh() as ledger, ledger.serve() as service:
        for _ in range(bench.scale.rounds):
            for name, workload in workloads.items():
                found[name].add(*_post(bench, service, workload))
    uniform = found.pop("uniform").rate.median
    for name, rounds in found.items():
        target = Target(ratio_at_least=1) if "hot" in name else None
        title = f"single POST, {CONNECTIONS} connections, {name}"
        yield Row(title, rounds.rate, "/s", "uniform", uniform, target, rounds.cost)


def measure_authentication(bench: RunContext) -> Iterator[Row]:
    """Measure the cost of authentication: send the same requests to a service with a key and to one without keys."""
    key = token_hex(24)
    found: dict[str | None, Rounds] = {None: Rounds(), key: Rounds()}
    with (
        bench.ledgers.fresh() as ledger,
        ledger.serve(SALDO_RELAY_ENABLED="false") as unlocked,
        ledger.serve(SALDO_ADMIN_KEY=key, SALDO_RELAY_ENABLED="false") as locked,
    ):
        services: dict[str | None, ServiceProcess] = {None: unlocked, key: locked}
        for turn in range(2 * bench.scale.rounds):
            for given, rounds in found.items() if turn % 2 else reversed(found.items()):
                requests = bench.posts(bench.workload(0))
                load = wrk.WrkLoad(services[given].url, requests, CONNECTIONS, key)
                rounds.add(*_run_successful_round(bench, services[given].process.pid, load))
                requests.file.unlink()
    yield Row(
        f"single POST, {CONNECTIONS} connections, with a key",
        found[key].rate,
        "/s",
        "without any",
        found[None].rate.median,
        Target(ratio_at_least=0.95),
        found[key].cost,
    )
    yield Row(
        f"single POST, {CONNECTIONS} connections, with a key: p99",
        found[key].p99_ms,
        "ms",
        "without any",
        found[None].p99_ms.median,
    )


def measure_reads(bench: RunContext) -> Iterator[Row]:
    """Measure GET of a balance and of a transaction at 64 connections, with a key."""
    key = token_hex(24)
    with bench.ledgers.fresh() as ledger, limits.run_echo(*find_free_ports(1)) as echo:
        with ledger.serve() as service:
            bench.stream(service, bench.body(bench.workload(bench.scale.bulk_lines // 10)))
        with ledger.serve(SALDO_ADMIN_KEY=key) as service:
            for name, paths in _paths(ledger).items():
                yield from _read_rows(bench, service, echo, (name, bench.gets(paths)), key)


def _read_rows(
    bench: RunContext,
    service: ServiceProcess,
    echo: limits.Echo,
    read: tuple[str, wrk.Requests],
    key: str,
) -> Iterator[Row]:
    name, requests = read
    ours, bare = Rounds(), Rounds()
    for _ in range(bench.scale.rounds):
        load = wrk.WrkLoad(service.url, requests, CONNECTIONS, key)
        ours.add(*_run_successful_round(bench, service.process.pid, load))
        load = wrk.WrkLoad(echo.url, requests, CONNECTIONS)
        bare.add(*_run_successful_round(bench, echo.pid, load))
    title = f"{name}, {CONNECTIONS} connections"
    target = Target(at_least=5000)
    yield Row(title, ours.rate, "/s", "bare echo", bare.rate.median, target, ours.cost)
    yield Row(f"{title}: p99", ours.p99_ms, "ms", "bare echo", bare.p99_ms.median)


def _posts(
    bench: RunContext, service: ServiceProcess, echo: limits.Echo, connections: int
) -> tuple[Rounds, Rounds]:
    ours, bare = Rounds(), Rounds()
    for _ in range(bench.scale.rounds):
        requests = bench.posts(bench.workload(0))
        load = wrk.WrkLoad(service.url, requests, connections)
        ours.add(*_run_successful_round(bench, service.process.pid, load))
        # With the path `/`, lines may be repeated, which makes no difference to an echo.
        load = wrk.WrkLoad(echo.url, replace(requests, path="/"), connections)
        bare.add(*_run_successful_round(bench, echo.pid, load))
        requests.file.unlink()
    return ours, bare


def _post(
    bench: RunContext, service: ServiceProcess, workload: Workload
) -> tuple[wrk.WrkResult, ResourceUsage]:
    """Run one round. Refused transactions count as answers."""
    requests = bench.posts(workload)
    load = wrk.WrkLoad(service.url, requests, CONNECTIONS)
    (driven,), cost = bench.drive([service.process.pid], [load])
    requests.file.unlink()
    return driven, cost


def _run_successful_round(
    bench: RunContext, pid: int, load: wrk.WrkLoad
) -> tuple[wrk.WrkResult, ResourceUsage]:
    """Run one round in which the requests must succeed.

    Up to 1 % may fail, since requests on different connections can overtake each other.

    Raises:
        DriverError: More than 1 % of the responses were not 2xx.
    """
    (driven,), cost = bench.drive([pid], [load])
    if driven.refused > driven.requests / 100:
        raise wrk.DriverError(f"{driven.refused} of {driven.requests} answers were not 2xx")
    return driven, cost


def _paths(ledger: Ledger) -> dict[str, list[str]]:
    users = [f"/v1/user/{number * 7919 % ledger.users + 1}/balance" for number in range(PATHS)]
    uuids = [row[0] for row in ledger.query("recorded_uuids", PATHS)]
    transactions = [f"/v1/transaction/{uuid}" for uuid in islice(cycle(uuids), PATHS)]
    return {"GET balance": users, "GET transaction": transactions}
