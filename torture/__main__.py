"""Run the torture suite: real processes, concurrent clients, faults chosen from a seed, and then the checker.

The seed is printed first. A run with the same seed does the same things in the same order, but not at the same times.
With `--mutant`, a bug is planted in the services, and the suite must detect it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from harness.events import rabbitmq
from torture import report, verdict
from torture.faults.all import KINDS
from torture.mutants import NAMES
from torture.run import Run
from torture.trial import NO_MUTANT, Trial


def main() -> None:
    """Run the suite or the trials, and exit with 1 if anything is wrong."""
    options = _arguments().parse_args()
    seed = options.seed or secrets.token_hex(4)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="saldo-torture-"))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    # The suite kills the broker on purpose, and the broker's client libraries log each attempt to reconnect.
    for name in ("aio_pika", "aiormq", "rstream"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    choose = _trials if options.mutant else _run
    work = choose(options, directory.resolve(), seed, say)
    directory.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}; evidence in {directory}", flush=True)
    code = asyncio.run(_until_ended(work))
    if options.report and (directory / report.SUMMARY).exists():
        report.render(directory)
    print(f"seed {seed}; evidence in {directory}")
    sys.exit(code)


def _run(
    options: argparse.Namespace, directory: Path, seed: str, say: Callable[[str], None]
) -> Coroutine[Any, Any, int]:
    """Check the options of a normal run and return its coroutine, whose result is the exit code."""
    names = options.faults.split(",") if options.faults else [*KINDS]
    if unknown := set(names) - KINDS.keys():
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}; there are: {', '.join(KINDS)}")
    program = rabbitmq.find()
    if program is None:
        sys.exit("rabbitmq-server is not installed (Debian: package rabbitmq-server)")
    run = Run(directory, program, seed, say)
    return run.run(kinds=[KINDS[name] for name in names], seconds=options.seconds)


def _trials(
    options: argparse.Namespace, directory: Path, seed: str, say: Callable[[str], None]
) -> Coroutine[Any, Any, int]:
    """Check the options of trials of one mutant or of all, and return a coroutine whose result is the exit code."""
    names = [*NAMES, NO_MUTANT]
    if options.mutant != "all":
        if options.mutant not in names:
            sys.exit(f"no such bug: {options.mutant}; there are: {', '.join(names)}, all")
        names = [options.mutant]
    if options.faults or options.report:
        sys.exit("--mutant goes with neither --faults nor --report")
    return _try(names, directory, seed, say, options.seconds)


async def _try(
    names: Sequence[str], directory: Path, seed: str, say: Callable[[str], None], seconds: float
) -> int:
    """Run the trials one after the other, print a table of the verdicts, and return the exit code."""
    verdicts = [await Trial(name, directory / name, seed, say).run(seconds) for name in names]
    if len(verdicts) > 1:
        print(f"\n{verdict.table(verdicts)}\n")
    return 0 if all(each.right for each in verdicts) else 1


async def _until_ended(work: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine so that SIGTERM and SIGINT cancel it once; a second signal doesn't interrupt the cleanup."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    told = False

    def end() -> None:
        nonlocal told
        if not told:
            told = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    try:
        return await task
    except asyncio.CancelledError:
        return 130


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long faults are done")
    parser.add_argument("--seed", default="", help="as it was printed; else one is made up")
    parser.add_argument("--directory", type=Path, help="where the evidence goes")
    parser.add_argument("--faults", default="", help="only these kinds, separated by commas")
    parser.add_argument(
        "--mutant",
        default="",
        help=f"the suite on trial with this bug planted, or each in turn: all; {NO_MUTANT}: without one",
    )
    parser.add_argument(
        "--report", action="store_true", help="write the tables of the documentation"
    )
    return parser


if __name__ == "__main__":
    main()
