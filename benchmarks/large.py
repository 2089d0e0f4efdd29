"""Study of what limits the rate of a large ledger: the same stream is sent to it with one change at a time.

It takes about half an hour and is therefore not part of the suite: python -m benchmarks.large [--entries N]
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psycopg

from benchmarks import machine
from benchmarks.bench import RunContext
from benchmarks.ledgers import Ledger, Ledgers, read_statement
from benchmarks.scale import FULL

LINES = 200_000
STEP_LINES = 1_000_000
COLUMNS = ("change", "rate", "share", "database_us", "wal_bytes", "date", "commit", "machine")


@dataclass(frozen=True, slots=True)
class Change:
    """A change to the ledger's database: the superuser's statements that make it, and those that undo it."""

    name: str
    make: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    uuid_version: Literal[4, 7] = 4
    settled: bool = True
    """True if a checkpoint precedes the measurement.

    After a checkpoint, the first change of each page writes the whole page to the WAL.
    """


def setting(name: str, value: str) -> Change:
    """Return a change of a server setting."""
    return Change(
        f"{name} = {value}",
        (f"ALTER SYSTEM SET {name} = '{value}'", "SELECT pg_reload_conf()"),
        (f"ALTER SYSTEM RESET {name}", "SELECT pg_reload_conf()"),
    )


def rebuild_index(index: str, fill_factor: int) -> Change:
    """Return a change that rebuilds an index with another fill factor."""
    commands = tuple(
        read_statement("rebuild_index")
        .replace("{index}", index)
        .replace("{fill_factor}", str(percent))
        for percent in (fill_factor, 90)
    )
    return Change(
        f"{index} rebuilt, fill factor {fill_factor}",
        tuple(commands[0].strip().split(";\n")),
        tuple(commands[1].strip().split(";\n")),
    )


CHANGES = (
    Change("as shipped, right after a checkpoint"),
    Change("as shipped, long after a checkpoint", settled=False),
    Change("uuid 7, right after a checkpoint", uuid_version=7),
    Change("uuid 7, long after a checkpoint", uuid_version=7, settled=False),
    setting("wal_compression", "pglz"),
    setting("full_page_writes", "off"),
    setting("synchronous_commit", "off"),
    rebuild_index("transactions_uuid_unique", 70),
    rebuild_index("transactions_user_number_unique", 70),
    rebuild_index("transactions_pkey", 90),
    Change(
        "without the index of late entries",
        ("DROP INDEX saldo.transactions_late",),
        (read_statement("late_index"),),
    ),
    Change(
        "without checks of amounts and positions",
        tuple(
            f"ALTER TABLE saldo.transactions DROP CONSTRAINT transactions_{name}"
            for name in ("amount_of_kind", "positions", "shard_of_user", "outcome", "horizon")
        ),
    ),
)


def main() -> None:
    """Fill one ledger, and measure each change in it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--lines", type=int, default=LINES, help="of each measurement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="saldo-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with Ledgers(directory, FULL.users) as ledgers, ledgers.fresh() as ledger:
            bench = RunContext(FULL, ledgers, directory)
            _fill(bench, ledger, options.entries)
            stamp = machine.stamp(ledgers.version(), ledgers.data_directory)
            rows = []
            for row in _measure(bench, ledger, options.lines):
                rows.append(row | stamp)
                print("  ".join(f"{value:>10}" for value in row.values()), flush=True)
                _write(rows)


def _fill(bench: RunContext, ledger: Ledger, entries: int) -> None:
    with ledger.serve() as service:
        for _ in range(0, entries, STEP_LINES):
            bench.stream(service, bench.body(bench.workload(min(STEP_LINES, entries))))


def _measure(bench: RunContext, ledger: Ledger, lines: int) -> Iterator[dict[str, str]]:
    shipped = 0.0
    for change in CHANGES:
        with _apply_change(bench.ledgers, ledger, change), ledger.serve() as service:
            workload = replace(bench.workload(lines), uuid_version=change.uuid_version)
            body = bench.body(workload)
            rate, cost = bench.stream(service, body, settled=change.settled)
        shipped = shipped or rate
        yield {
            "change": change.name,
            "rate": f"{rate:.0f}",
            "share": f"{rate / shipped:.2f}",
            "database_us": f"{cost.database / cost.count * 1e6:.1f}",
            "wal_bytes": f"{cost.wal_bytes / cost.count:.0f}",
        }


@contextmanager
def _apply_change(ledgers: Ledgers, ledger: Ledger, change: Change) -> Iterator[None]:
    with psycopg.connect(ledgers.superuser_url(ledger), autocommit=True) as connection:
        for command in change.make:
            connection.execute(command.encode())
        try:
            yield
        finally:
            for command in change.undo:
                connection.execute(command.encode())


def _write(rows: list[dict[str, str]]) -> None:
    path = machine.ROOT / "docs" / "benchmarks" / "large.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
