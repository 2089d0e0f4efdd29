"""Study of the cost of a log that is partitioned by time, compared with the single table of the real log.

It takes about 15 minutes and is therefore not part of the suite: python -m benchmarks.partitions [--entries N]

It uses only SQL. Tables with the keys, checks and indexes of the log are filled with the entries of a year. Then
batches are appended as posting does it, with a lookup of their uuids, and queries for random users are run. The third
layout has a separate table of uuids, since a unique key of a partitioned table must contain the partition key.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import psycopg

from benchmarks import machine
from benchmarks.cost import tree_seconds
from benchmarks.ledgers import Ledgers, read_statement
from benchmarks.scale import FULL

BATCH = 500
FILL_BATCH = 100_000
MONTHS = 12
QUESTIONS = 2_000
ROUNDS = 5
COLUMNS = (
    *(
        "layout",
        "after_a_checkpoint_us",
        "after_a_checkpoint_wal",
        "long_after_us",
        "long_after_wal",
    ),
    *(
        "newest_us",
        "page_us",
        "index_mb",
        "written_index_mb",
        "entries",
        "date",
        "commit",
        "machine",
    ),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout of the log: the table with the rows, its parts, and the table in which uuids are looked up."""

    name: str
    table: str
    parts: tuple[str, ...]
    uuids: str
    written: tuple[str, ...]
    """The tables that new entries are written to."""


WHOLE = Layout("one table", "whole", ("whole",), "whole", ("whole",))
PARTS = tuple(f"month_{number + 1}" for number in range(MONTHS))
KEYLESS = tuple(f"keyless_{number + 1}" for number in range(MONTHS))
LAYOUTS = (
    WHOLE,
    Layout(f"{MONTHS} partitions", "parted", PARTS, "parted", PARTS[-1:]),
    Layout(
        f"{MONTHS} partitions and a table of uuids",
        *("keyless", (*KEYLESS, "uuids"), "uuids", (*KEYLESS[-1:], "uuids")),
    ),
)


def main() -> None:
    """Fill the tables, and measure them in turns."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.partitions", description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--lines", type=int, default=100_000, help="of each measurement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="saldo-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with Ledgers(directory, 1) as ledgers, ledgers.fresh() as ledger:
            stamp = machine.stamp(ledgers.version(), ledgers.data_directory)
            url = ledgers.superuser_url(ledger)
            with _connect(url) as connection:
                _make(connection)
                _fill(connection, options.entries)
                rows = [row | stamp for row in _measure(ledgers, connection, options)]
    _write(rows)


def _connect(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        url, autocommit=True, prepare_threshold=0, cursor_factory=psycopg.RawCursor
    )


def _make(connection: psycopg.Connection[Any]) -> None:
    execute = connection.execute
    execute(b"CREATE TABLE whole (LIKE saldo.transactions INCLUDING ALL)")
    execute(b"CREATE TABLE uuids (uuid uuid PRIMARY KEY)")
    for parent, parts in (("parted", PARTS), ("keyless", KEYLESS)):
        execute(
            f"CREATE TABLE {parent} (LIKE saldo.transactions INCLUDING CONSTRAINTS)"
            " PARTITION BY RANGE (recorded_at)".encode()
        )
        for number, part in enumerate(parts):
            execute(f"CREATE TABLE {part} (LIKE saldo.transactions INCLUDING ALL)".encode())
            begin, end = (
                f"'2026-01-01Z'::timestamptz + interval '1 year' * {n} / {MONTHS}"
                for n in (number, number + 1)
            )
            execute(
                f"ALTER TABLE {parent} ATTACH PARTITION {part} FOR VALUES FROM ({begin}) TO ({end})".encode()
            )
            if parent == "keyless":
                execute(f"ALTER TABLE {part} DROP CONSTRAINT {part}_uuid_key".encode())
    # Use the indexes, as the SQL function does, independently of the statistics.
    for way in ("seqscan", "hashjoin", "mergejoin", "bitmapscan"):
        execute(f"SET enable_{way} = off".encode())


def _fill(connection: psycopg.Connection[Any], entries: int) -> None:
    for layout in LAYOUTS:
        text = read_statement("partitions/fill").replace("{table}", layout.table).encode()
        for begin in range(0, entries, FILL_BATCH):
            end = min(begin + FILL_BATCH, entries)
            connection.execute(text, (begin, end, FULL.users, entries))
        if layout.uuids == "uuids":
            connection.execute(b"INSERT INTO uuids SELECT uuid FROM keyless")
        print(f"{layout.name}: {entries:,} entries", flush=True)
    connection.execute(b"VACUUM (ANALYZE)")


def _measure(
    ledgers: Ledgers, connection: psycopg.Connection[Any], options: argparse.Namespace
) -> Iterator[dict[str, str]]:
    """Measure the layouts in turns, so that other activity on the machine affects all of them."""
    figures: dict[str, dict[str, list[float]]] = {layout.name: {} for layout in LAYOUTS}
    random = Random(1)
    next_entry = options.entries
    for _ in range(ROUNDS):
        for layout in LAYOUTS:
            found = figures[layout.name]
            for number, when in enumerate(("after_a_checkpoint", "long_after")):
                if when == "after_a_checkpoint":
                    connection.execute(b"CHECKPOINT")
                begin = next_entry + number * options.lines
                us, wal = _post(ledgers, connection, layout, range(begin, begin + options.lines))
                found.setdefault(f"{when}_us", []).append(us)
                found.setdefault(f"{when}_wal", []).append(wal)
            users = [random.randint(1, FULL.users) for _ in range(QUESTIONS)]
            for question in ("newest", "page"):
                us = _ask(connection, f"partitions/{question}", layout, users)
                found.setdefault(f"{question}_us", []).append(us)
        # All layouts get the same entries.
        next_entry += 2 * options.lines
    for layout in LAYOUTS:
        sizes = connection.execute(
            read_statement("partitions/sizes").encode(), (list(layout.parts), list(layout.written))
        ).fetchone()
        assert sizes is not None
        row = {name: f"{median(values):.1f}" for name, values in figures[layout.name].items()}
        row |= {
            "index_mb": f"{sizes[0] / 2**20:.0f}",
            "written_index_mb": f"{sizes[1] / 2**20:.0f}",
        }
        yield {"layout": layout.name, "entries": str(options.entries)} | row


def _post(
    ledgers: Ledgers, connection: psycopg.Connection[Any], layout: Layout, entries: range
) -> tuple[float, float]:
    """Post entries. Returns the database's CPU time in microseconds and the bytes of WAL per entry."""
    kept = read_statement("partitions/kept").strip() if layout.uuids == "uuids" else ""
    text = read_statement("partitions/post").replace("{kept}", kept)
    command = text.replace("{table}", layout.table).replace("{uuids}", layout.uuids).encode()
    seconds, wal = tree_seconds(ledgers.pid), ledgers.wal_bytes()
    for begin in entries[::BATCH]:
        end = min(begin + BATCH, entries.stop)
        connection.execute(command, (begin, end, FULL.users))
    seconds, wal = tree_seconds(ledgers.pid) - seconds, ledgers.wal_bytes() - wal
    return seconds / len(entries) * 1e6, wal / len(entries)


def _ask(connection: psycopg.Connection[Any], name: str, layout: Layout, users: list[int]) -> float:
    """Run a query for users. Returns the elapsed time per user in microseconds."""
    command = read_statement(name).replace("{table}", layout.table).encode()
    begin = time.perf_counter()
    connection.execute(command, (users,))
    return (time.perf_counter() - begin) / len(users) * 1e6


def _write(rows: list[dict[str, str]]) -> None:
    path = machine.ROOT / "docs" / "benchmarks" / "partitions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
