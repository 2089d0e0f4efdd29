"""Where the processors' time goes: to the service, the database, the driver, and to others on the machine."""

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
class Cost:
    """What a measurement took. All but `count` and `wal_bytes` in seconds, of a processor or of the clock."""

    count: int = 0
    elapsed: float = 0.0
    service: float = 0.0
    database: float = 0.0
    driver: float = 0.0
    others: float = 0.0
    """Of everything else on the machine: what the measurement could not have."""
    wal_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.count + other.count,
            self.elapsed + other.elapsed,
            self.service + other.service,
            self.database + other.database,
            self.driver + other.driver,
            self.others + other.others,
            self.wal_bytes + other.wal_bytes,
        )


class Meter:
    """Reads the kernel's accounts before and after."""

    def __init__(self, ledgers: Ledgers, service_pids: Sequence[int]) -> None:
        self._ledgers = ledgers
        self._service_pids = service_pids

    def measure(self, work: Callable[[], T], count: Callable[[T], int]) -> tuple[T, Cost]:
        """Does the work; `count` tells how many transactions or requests it was."""
        before = self._read()
        result = work()
        after = self._read()
        spent = [b - a for a, b in zip(before, after, strict=True)]
        elapsed, service, database, driver, machine, wal_bytes = spent
        others = max(0.0, machine - service - database - driver)
        cost = Cost(count(result), elapsed, service, database, driver, others, int(wal_bytes))
        return result, cost

    def _read(self) -> list[float]:
        own = os.times()
        return [
            time.perf_counter(),
            sum(tree_seconds(pid) for pid in self._service_pids),
            tree_seconds(self._ledgers.pid),
            # wrk is a child of ours that has ended; the NDJSON client is ourselves.
            own.user + own.system + own.children_user + own.children_system,
            _machine_seconds(),
            self._ledgers.wal_bytes(),
        ]


def tree_seconds(pid: int) -> float:
    """Processor time of a process and its children, also of those that have ended."""
    root = psutil.Process(pid)
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def forget_peak(pid: int) -> None:
    """The process's greatest memory is counted anew from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_megabytes(pid: int) -> float:
    """The greatest resident memory so far."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def _machine_seconds() -> float:
    """Processor time of the whole machine, also what its host took away; waiting doesn't count."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)
