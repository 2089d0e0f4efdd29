"""Process metrics (CPU, memory, open files) of the workers and of the relay's process, with their process ids."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric

from saldo.observability.worker_metrics import list_worker_pids

PID_FILE = "pid"
"""Name of the file, beside the wakeup socket, that contains the process id of the relay's process."""


def write_relay_pid(wakeup_path: Path) -> None:
    """Store the process id of the current process, which is the relay's, beside the wakeup socket."""
    wakeup_path.with_name(PID_FILE).write_text(str(os.getpid()))


class ProcessesCollector:
    """Process metrics by process id. The workers' metric files don't contain them."""

    def __init__(self, wakeup_path: Path | None, *, has_several_workers: bool) -> None:
        """
        Args:
            wakeup_path: the wakeup socket; None if the service has no relay process.
            has_several_workers: whether to collect the metrics of all workers. A single worker has its own collector.
        """
        self._wakeup_path = wakeup_path
        self._has_several_workers = has_several_workers

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families. A process that has just ended yields no metrics."""
        families: dict[str, Metric] = {}
        for process, pid in self._list_processes():
            for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                empty = Metric(metric.name, metric.documentation, metric.type)
                family = families.setdefault(metric.name, empty)
                for sample in metric.samples:
                    labels = {"process": process, "pid": str(pid)}
                    family.add_sample(sample.name, labels, sample.value)
        yield from families.values()

    def _list_processes(self) -> Iterator[tuple[str, int]]:
        if self._has_several_workers:
            for pid in list_worker_pids():
                yield "worker", pid
        if self._wakeup_path is not None:
            with suppress(OSError, ValueError):  # the file is missing until the process has started
                yield "relay", int(self._wakeup_path.with_name(PID_FILE).read_text())
