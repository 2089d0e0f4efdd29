"""`python -m torture`: real processes, concurrent clients, faults from a seed; then the checker.

The seed is printed first: with it the same things are done in the same order, though not at the same moments.
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
from pathlib import Path

from tests.faults import broker

from torture import report
from torture.faults.all import KINDS
from torture.run import Run


def main() -> None:
    """Runs it, and ends with 1 if anything is wrong."""
    given = _arguments().parse_args()
    seed = given.seed or secrets.token_hex(4)
    unknown = set(given.faults.split(",")) - KINDS.keys() if given.faults else set()
    if unknown:
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}; there are: {', '.join(KINDS)}")
    kinds = [KINDS[name] for name in given.faults.split(",")] if given.faults else [*KINDS.values()]
    program = broker.find()
    if program is None:
        sys.exit("rabbitmq-server is not installed (Debian: package rabbitmq-server)")
    directory = given.directory or Path(tempfile.mkdtemp(prefix="saldo-torture-"))
    directory.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}; evidence in {directory}", flush=True)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    # A broker that is killed is what is wanted; its client tells of each attempt to reach it.
    for name in ("aio_pika", "aiormq", "rstream"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    run = Run(directory.resolve(), program, seed, say)
    code = asyncio.run(_until_ended(run, kinds=kinds, seconds=given.seconds))
    if given.report and (directory / report.SUMMARY).exists():
        report.render(directory)
    print(f"seed {seed}; evidence in {directory}")
    sys.exit(code)


async def _until_ended(run: Run, **given: object) -> int:
    """SIGTERM is as Ctrl-C: everything that was started is ended, which a second one doesn't cut short."""
    task = asyncio.ensure_future(run.run(**given))  # type: ignore[arg-type]
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
        "--report", action="store_true", help="write the tables of the documentation"
    )
    return parser


if __name__ == "__main__":
    main()
