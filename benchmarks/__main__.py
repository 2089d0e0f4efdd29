"""The benchmark suite: python -m benchmarks [--full] [--only NAME ...]"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import machine
from benchmarks.bench import RunContext, Subject
from benchmarks.ledgers import Ledgers
from benchmarks.load import wrk
from benchmarks.results import plots, report
from benchmarks.results.readme import DIRECTORY, render
from benchmarks.scale import FULL, SCALES, SHORT, Scale
from benchmarks.scenarios import distributed, events
from benchmarks.scenarios.bulk import measure_bulk, measure_memory
from benchmarks.scenarios.client import measure_client
from benchmarks.scenarios.distributed import measure_distributed_ledger
from benchmarks.scenarios.events import measure_events
from benchmarks.scenarios.history import measure_balances_at_dates, measure_growth
from benchmarks.scenarios.live import measure_live_stream
from benchmarks.scenarios.overload import measure_overload
from benchmarks.scenarios.processes import measure_processes
from benchmarks.scenarios.seals import measure_seals
from benchmarks.scenarios.single import (
    measure_authentication,
    measure_distributions,
    measure_machine_limits,
    measure_reads,
    measure_single_requests,
)
from benchmarks.scenarios.soak import measure_soak

SUBJECTS: dict[str, Subject] = {
    "limits": measure_machine_limits,
    "single": measure_single_requests,
    "distributions": measure_distributions,
    "authentication": measure_authentication,
    "reads": measure_reads,
    "processes": measure_processes,
    "live": measure_live_stream,
    "client": measure_client,
    "bulk": measure_bulk,
    "seals": measure_seals,
    "memory": measure_memory,
    "dates": measure_balances_at_dates,
    "growth": measure_growth,
    "events": measure_events,
    "overload": measure_overload,
    "soak": measure_soak,
    "distributed": measure_distributed_ledger,
}
"""The benchmarks by name, in the order in which they run. Some use figures of earlier ones as their baselines."""

NEEDS_WRK = {
    "single",
    "distributions",
    "authentication",
    "reads",
    "processes",
    "live",
    "events",
    "distributed",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks, print each row as soon as it is measured, and write the files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all sizes; takes about an hour")
    parser.add_argument("--scale", choices=SCALES, help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, metavar="NAME", default=[*SUBJECTS])
    parser.add_argument("--soak-seconds", type=int, help="how long the soak takes")
    parser.add_argument("--output", type=Path, default=DIRECTORY, help="for the files")
    parser.add_argument(
        "--directory", type=Path, help="for the data; must be on a disk (default: TMPDIR)"
    )
    options = parser.parse_args(arguments)
    scale = SCALES[options.scale] if options.scale else FULL if options.full else SHORT
    if options.soak_seconds:
        scale = replace(scale, soak_seconds=options.soak_seconds)
    names = [name for name in SUBJECTS if name in options.only]
    if NEEDS_WRK & set(names) and not wrk.is_installed():
        print(wrk.MISSING, file=sys.stderr)
        names = [name for name in names if name not in NEEDS_WRK]
    if "events" in names and not events.is_available():
        print(events.MISSING, file=sys.stderr)
        names.remove("events")
    if "distributed" in names and not distributed.is_available():
        print(distributed.MISSING, file=sys.stderr)
        names.remove("distributed")
    if not names:
        return
    with tempfile.TemporaryDirectory(prefix="saldo-bench-", dir=options.directory) as directory:
        run(scale, names, Path(directory), options.output)


def run(scale: Scale, names: Sequence[str], directory: Path, output: Path) -> None:
    """Run the named subjects. Rows of other subjects that earlier runs have written are kept."""
    # The embedded server may run under another system account, which needs access to the directory.
    directory.chmod(0o755)
    if machine.file_system(directory) == "tmpfs":
        print("the data is in memory, not on a disk: see --directory", file=sys.stderr)
    stem = output / scale.name
    with Ledgers(directory, scale.users) as ledgers:
        stamp = machine.stamp(ledgers.version(), ledgers.data_directory)
        print(", ".join(stamp.values()))
        bench = RunContext(scale, ledgers, directory)
        for name in names:
            began = time.monotonic()
            records = []
            for row in SUBJECTS[name](bench):
                bench.rows[row.name] = row
                records.append(report.record(name, row, stamp))
                print(report.line(records[-1]), flush=True)
            # Write the files after each subject, so that an interrupted run keeps its results.
            rows = report.merge(report.read(stem.with_suffix(".csv")), records, [*SUBJECTS])
            report.write(stem, rows)
            print(f"({name}: {time.monotonic() - began:.0f} s)", flush=True)
    if not plots.draw(report.read(stem.with_suffix(".csv")), output):
        print(plots.MISSING, file=sys.stderr)
    render(output)


if __name__ == "__main__":
    main()
