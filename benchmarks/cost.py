"""Measurement of the CPU time of the service, the database, the load driver and all other processes, and of WAL."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from benchmarks.ledgers import Ledgers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """The resources that a measurement has used.

    `elapsed` is in seconds. `service`, `database`, `driver` and `others` are CPU time in seconds.
    """

    count: int = 0
    elapsed: float = 0.0
    service: float = 0.0
    database: float = 0.0
    driver: float = 0.0
    others: float = 0.0
    """CPU time of all other processes on the machine. The measurement could not use this time."""
    wal_bytes: int = 0

    def __add__(self, other: ResourceUsage) -> ResourceUsage:
        return ResourceUsage(
            self.count + other.count,
            self.elapsed + other.elapsed,
            self.service + other.service,
            self.database + other.database,
            self.driver + other.driver,
            self.others + other.others,
            self.wal_bytes + other.wal_bytes,
        )


class Meter:
    """A meter that reads the kernel's CPU accounting before and after a measurement."""

    def __init__(self, ledgers: Ledgers, service_pids: Sequence[int]) -> None:
        self._ledgers = ledgers
        self._service_pids = service_pids

    def measure(self, work: Callable[[], T], count: Callable[[T], int]) -> tuple[T, ResourceUsage]:
        """Run the work and measure its cost. `count` returns the number of transactions or requests in the result."""
        before = self._read()
        result = work()
        after = self._read()
        spent = [b - a for a, b in zip(before, after, strict=True)]
        elapsed, service, database, driver, machine, wal_bytes = spent
        others = max(0.0, machine - service - database - driver)
        cost = ResourceUsage(
            count(result), elapsed, service, database, driver, others, int(wal_bytes)
        )
        return result, cost

    def _read(self) -> list[float]:
        own = os.times()
        return [
            time.perf_counter(),
            sum(tree_seconds(pid) for pid in self._service_pids),
            tree_seconds(self._ledgers.pid),
            # wrk is a child process that has ended; the NDJSON client runs in this process.
            own.user + own.system + own.children_user + own.children_system,
            _machine_seconds(),
            self._ledgers.wal_bytes(),
        ]


def tree_seconds(pid: int) -> float:
    """Return the CPU time in seconds of a process and its children, including children that have ended."""
    root = psutil.Process(pid)
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def reset_peak_memory(pid: int) -> None:
    """Reset the kernel's record of a process's peak memory."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_megabytes(pid: int) -> float:
    """Return the peak resident memory of a process since the last reset, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def _machine_seconds() -> float:
    """Return the CPU time of the whole machine in seconds, including steal time and without idle and I/O wait."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)
