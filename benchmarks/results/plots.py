"""Plots of the measured rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import capacity
from benchmarks.results.report import Record

MISSING = "matplotlib is not installed (extra `bench`): no plots."


def draw(rows: Sequence[Record], directory: Path) -> bool:
    """Draw the plots that rows exist for. Returns False if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: PLC0415 - the plots are optional
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    pyplot.rcParams.update(
        {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True}
    )
    pyplot.rcParams.update({"grid.alpha": 0.3, "savefig.dpi": 140, "legend.frameon": False})
    _connections(pyplot, rows, directory / "connections.png")
    _growth(pyplot, rows, directory / "growth.png")
    _cluster(pyplot, rows, directory / "cluster.png")
    return True


def _connections(pyplot: Any, rows: Sequence[Record], path: Path) -> None:
    """Draw throughput and 99th percentile by number of connections, for the service and the bare echo."""
    rates = _points(rows, r"single POST, (\d+) connections")
    tails = _points(rows, r"single POST, (\d+) connections: p99")
    if not rates:
        return
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for panel, points, unit in (
        (panels[0], rates, "requests/s"),
        (panels[1], tails, "p99 latency, ms"),
    ):
        connections = [x for x, _ in points]
        for column, label, style in (
            ("measured", "Saldo, durable", "o-"),
            ("limit_value", "bare echo", "s--"),
        ):
            panel.plot(connections, [float(row[column]) for _, row in points], style, label=label)
        panel.set_xscale("log", base=2)
        panel.set_xticks(connections, [f"{x:g}" for x in connections])
        panel.set_xlabel("connections")
        panel.set_ylabel(unit)
        panel.set_ylim(bottom=0)
        panel.legend()
    figure.suptitle("POST /v1/transaction, medians of rounds")
    figure.savefig(path)
    pyplot.close(figure)


def _growth(pyplot: Any, rows: Sequence[Record], path: Path) -> None:
    """Draw the cost of a transaction in a bulk stream by the number of entries that already exist."""
    points = _points(rows, r"growing, from ([\d,]+) entries on")
    if not points:
        return
    figure, panel = pyplot.subplots(figsize=(7, 4), layout="constrained")
    entries = [x / 1e6 for x, _ in points]
    elapsed = [1e6 / float(row["measured"]) for _, row in points]
    panel.plot(entries, elapsed, "o-", label="elapsed")
    for column, label in (("database_us", "CPU, database"), ("service_us", "CPU, service")):
        panel.plot(entries, [float(row[column]) for _, row in points], "s--", label=label)
    panel.set_xlabel("entries in the table before, millions")
    panel.set_ylabel("µs per transaction")
    panel.set_ylim(bottom=0)
    panel.legend()
    panel.set_title(f"Bulk stream, {_step(points):,.0f} transactions a point")
    figure.savefig(path)
    pyplot.close(figure)


def _cluster(pyplot: Any, rows: Sequence[Record], path: Path) -> None:
    """Draw the size and the cost of calls, measured and modelled, and the modelled capacity of clusters."""
    runs = capacity.runs_of(rows)
    singles = [run for run in runs if run.connections is not None]
    if not singles:
        return
    cost = capacity.CallCost(runs)
    figure, panels = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for workers in sorted({run.workers for run in singles}):
        of_size = [run for run in singles if run.workers == workers]
        sizes = [capacity.requests_in_call(run.connections or 0, run.lanes) for run in of_size]
        label = f"{workers} worker{'s' * (workers > 1)}"
        panels[0].plot(sizes, [run.in_call for run in of_size], "o", label=label)
        direct = [run for run in of_size if run.direct]
        panels[1].plot(
            [run.in_call for run in direct], [run.worker_us for run in direct], "o", label=label
        )
    longest = max(run.in_call for run in singles)
    panels[0].plot([1, longest], [1, longest], "k:", label="as modelled")
    panels[0].set_xlabel("transactions in a call, modelled")
    panels[0].set_ylabel("measured")
    sizes = [1 + step * longest / 50 for step in range(51)]
    panels[1].plot(sizes, [cost.estimate(size) / size for size in sizes], "k:", label="as modelled")
    panels[1].set_xlabel("transactions in a call")
    panels[1].set_ylabel("µs of a worker's processor for each")
    panels[1].set_ylim(bottom=0)
    numbers = [1, 2, 4, 8, 16, 32]
    for clients in (64, 256, 1024, 4096):
        carried = [
            capacity.capacity_of(
                capacity.Cluster(number, services=capacity.SERVICES), clients, runs
            )
            for number in numbers
        ]
        panels[2].plot(numbers, carried, "o-", label=f"{clients:,} clients")
    panels[2].set_xscale("log", base=2)
    panels[2].set_yscale("log")
    panels[2].set_xticks(numbers, [str(number) for number in numbers])
    panels[2].set_xlabel(
        f"workers of {capacity.PROCESSORS} processors, before them {capacity.SERVICES} services"
    )
    panels[2].set_ylabel("single requests/s, modelled")
    for panel in panels:
        panel.legend()
    figure.savefig(path)
    pyplot.close(figure)


def _points(rows: Sequence[Record], pattern: str) -> list[tuple[float, Record]]:
    """Return the rows whose name matches a pattern, with the number in the name, and sorted by it."""
    found = [(re.fullmatch(pattern, row["name"]), row) for row in rows]
    points = [(float(match[1].replace(",", "")), row) for match, row in found if match]
    return sorted(points, key=lambda point: point[0])


def _step(points: Sequence[tuple[float, Record]]) -> float:
    return points[1][0] - points[0][0] if len(points) > 1 else 0
