"""Check the evidence of a run: `python -m torture.checker DIRECTORY`.

Exit codes: 0: no fault; 1: faults, one per line; 2: there is no readable evidence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from torture.checker.report import check
from torture.history import load


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the number of things that were checked and then the faults, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m torture.checker", description="Check the evidence of a run."
    )
    parser.add_argument("directory", type=Path, help="where a run has left its evidence")
    directory = parser.parse_args(arguments).directory
    try:
        evidence = load(directory)
    except (OSError, msgspec.MsgspecError) as error:
        print(f"the evidence can't be read: {error}", file=sys.stderr)
        return 2
    report = check(evidence)
    for name, count in report.counts.items():
        print(f"{name}: {count}")
    for fault in report.faults:
        print(fault)
    print(f"faults: {len(report.faults)}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
