"""Benchmark of the bulk stream into fresh ledgers.

The baseline is a COPY of the same rows into a table like the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from benchmarks.bench import RunContext
from benchmarks.cost import ResourceUsage, peak_megabytes, reset_peak_memory
from benchmarks.load.workload import Workload
from benchmarks.results.report import Row, Series, Target
from benchmarks.scenarios import limits

FRESH = "bulk, fresh ledger"


@dataclass
class StreamResults:
    """The results of streams that were each sent to a fresh ledger."""

    rate: Series = field(default_factory=Series)
    copy_rate: Series = field(default_factory=Series)
    cost: ResourceUsage = field(default_factory=ResourceUsage)


def measure_bulk(bench: RunContext) -> Iterator[Row]:
    """Measure streams of each kind, in turns and each into a fresh ledger. After each stream, measure a COPY of its
    rows."""
    plain = bench.workload(bench.scale.bulk_lines)
    workloads = {
        FRESH: plain,
        f"{FRESH}, uuid 7": replace(plain, uuid_version=7),
        f"{FRESH}, one hot user": replace(plain, spread="hot"),
        f"{FRESH}, Zipf, 5 % refused, 5 % replays": replace(
            plain, spread="zipf", refusals=0.05, replays=0.05
        ),
    }
    found = {name: StreamResults() for name in workloads}
    for turn in range(bench.scale.bulk_runs):
        for name, workload in workloads.items():
            if name != FRESH and turn >= bench.scale.variant_runs:
                continue
            _run(bench, replace(workload, seed=bench.workload(0).seed), found[name])
    for name, runs in found.items():
        target = Target(at_least=30_000, ratio_at_least=0.35) if name == FRESH else None
        copied = runs.copy_rate.median
        yield Row(name, runs.rate, "/s", "raw COPY", copied, target, runs.cost)
    hot = found[f"{FRESH}, one hot user"].rate
    uniform = found[FRESH].rate.median
    target = Target(ratio_at_least=1)
    yield Row("bulk, one hot user against uniform", hot, "/s", "uniform", uniform, target)


def measure_memory(bench: RunContext) -> Iterator[Row]:
    """Measure the peak memory of the service during one long stream."""
    lines = bench.scale.memory_lines
    body = bench.body(bench.workload(lines))
    with bench.ledgers.fresh() as ledger, ledger.serve() as service:
        reset_peak_memory(service.process.pid)
        before = peak_megabytes(service.process.pid)
        _, cost = bench.stream(service, body)
        peak = Series([peak_megabytes(service.process.pid)])
    target = Target(at_most=300)
    name = f"memory of the service, stream of {lines:,} lines"
    yield Row(name, peak, "MB", "before it", before, target, cost)


def _run(bench: RunContext, workload: Workload, runs: StreamResults) -> None:
    body = bench.body(workload)
    with bench.ledgers.fresh() as ledger:
        with ledger.serve() as service:
            rate, cost = bench.stream(service, body)
        runs.rate.add(rate)
        runs.cost += cost
        runs.copy_rate.add(limits.copy_rate(bench.ledgers, ledger))
