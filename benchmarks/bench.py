"""The context of a benchmark run: the scale, the ledgers, the load drivers, and the rows measured so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from benchmarks.cost import Meter, ResourceUsage
from benchmarks.ledgers import Ledgers
from benchmarks.load import ndjson, wrk
from benchmarks.load.workload import Body, Workload, body_of, generate
from benchmarks.results.report import Row
from benchmarks.scale import Scale
from harness.program.service import ServiceProcess

REQUESTS_PER_SECOND_MAX = 25_000
"""Number of lines that are prepared for wrk per second of a round. No service here can handle as many."""


@dataclass
class RunContext:
    """The context of one run of the suite."""

    scale: Scale
    ledgers: Ledgers
    directory: Path
    rows: dict[str, Row] = field(default_factory=dict)
    """The rows by name. Later subjects use them as baselines."""
    _seeds: count[int] = field(default_factory=lambda: count(1))

    def workload(self, lines: int) -> Workload:
        """Return a uniform workload whose uuids occur in no other workload of this run."""
        return Workload(lines=lines, users=self.scale.users, seed=next(self._seeds))

    def posts(
        self, workload: Workload, *, shares: int = 1, users: int | None = None
    ) -> wrk.Requests:
        """Prepare single POSTs for one process of wrk and one round.

        Args:
            shares: The number of processes of wrk that run at the same time.
        """
        lines = REQUESTS_PER_SECOND_MAX * (self.scale.seconds + 1) // shares
        workload = replace(
            workload, lines=lines, seed=next(self._seeds), users=users or workload.users
        )
        return wrk.posts(self._file(), (line.text for line in generate(workload)))

    def gets(self, paths: Iterable[str]) -> wrk.Requests:
        """Prepare single GETs."""
        return wrk.gets(self._file(), paths)

    def drive(
        self, pids: Sequence[int], loads: Sequence[wrk.WrkLoad]
    ) -> tuple[list[wrk.WrkResult], ResourceUsage]:
        """Run one round of wrk with all loads at the same time.

        Args:
            pids: The processes that answer the requests.
        """
        meter = Meter(self.ledgers, pids)
        return meter.measure(
            lambda: wrk.drive_all(loads, self.scale.seconds),
            lambda driven: sum(each.requests for each in driven),
        )

    def stream(
        self, service: ServiceProcess, body: Body, *, settled: bool = True
    ) -> tuple[float, ResourceUsage]:
        """Send one stream and check the outcome of each line.

        Args:
            settled: Whether to run a checkpoint first.

        Returns:
            The rate in lines per second, and the cost.
        """
        if settled:
            self.ledgers.settle()
        lines = body.outcomes.total()
        meter = Meter(self.ledgers, [service.process.pid])
        answer, cost = meter.measure(lambda: ndjson.send(service.url, body.data), lambda _: lines)
        outcomes = ndjson.check(answer, body.data)
        if outcomes != body.outcomes:
            raise ndjson.StreamError(f"expected {body.outcomes}, found {outcomes}")
        return lines / answer.seconds, cost

    def body(self, workload: Workload, *, users: int | None = None) -> Body:
        """Return all lines of a workload as one body."""
        return body_of(replace(workload, users=users or workload.users))

    def median_of(self, name: str) -> float | None:
        """Return the median of a row of this run, or None if it has not been measured."""
        row = self.rows.get(name)
        return None if row is None else row.measured.median

    def _file(self) -> Path:
        return self.directory / f"requests-{next(self._seeds)}"


Subject = Callable[[RunContext], Iterable[Row]]
