"""What every subject works with: the scale, the ledgers, the drivers, and what has been measured so far."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from tests.acceptance.service import ServiceProcess

from benchmarks import ndjson, wrk
from benchmarks.cost import Cost, Meter
from benchmarks.ledgers import Ledgers
from benchmarks.report import Row
from benchmarks.scale import Scale
from benchmarks.workload import Body, Workload, body_of, generate

REQUESTS_PER_SECOND_MAX = 25_000
"""Lines made ready for wrk: more than any service here takes."""


@dataclass
class Bench:
    """One run of the suite."""

    scale: Scale
    ledgers: Ledgers
    directory: Path
    rows: dict[str, Row] = field(default_factory=dict)
    """By name: what later subjects are held against."""
    _seeds: count[int] = field(default_factory=lambda: count(1))

    def workload(self, lines: int) -> Workload:
        """A uniform one, with uuids that no other of this run has."""
        return Workload(lines=lines, users=self.scale.users, seed=next(self._seeds))

    def posts(
        self, workload: Workload, *, shares: int = 1, users: int | None = None
    ) -> wrk.Requests:
        """Single POSTs for one wrk and one round; `shares`: how many wrks there are at the same time."""
        lines = REQUESTS_PER_SECOND_MAX * (self.scale.seconds + 1) // shares
        workload = replace(
            workload, lines=lines, seed=next(self._seeds), users=users or workload.users
        )
        return wrk.posts(self._file(), (line.text for line in generate(workload)))

    def gets(self, paths: Iterable[str]) -> wrk.Requests:
        """Single GETs."""
        return wrk.gets(self._file(), paths)

    def drive(
        self, pids: Sequence[int], loads: Sequence[wrk.Load]
    ) -> tuple[list[wrk.Driven], Cost]:
        """One round of wrk, all loads at once. `pids`: of the processes that answer."""
        meter = Meter(self.ledgers, pids)
        return meter.measure(
            lambda: wrk.drive_all(loads, self.scale.seconds),
            lambda driven: sum(each.requests for each in driven),
        )

    def stream(
        self, service: ServiceProcess, body: Body, *, settled: bool = True
    ) -> tuple[float, Cost]:
        """One stream, each line's outcome checked; lines per second. `settled`: after a checkpoint."""
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
        """All of the workload's lines."""
        return body_of(replace(workload, users=users or workload.users))

    def measured(self, name: str) -> float | None:
        """A figure of this run, if it has been measured."""
        row = self.rows.get(name)
        return None if row is None else row.measured.median

    def _file(self) -> Path:
        return self.directory / f"requests-{next(self._seeds)}"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


Subject = Callable[[Bench], Iterable[Row]]
