"""The main module of each process of a service that has a bug planted.

A process that multiprocessing spawns imports the main module of its parent before all else, unless that is a package's
`__main__`; so the launcher hands over to this one, and the relay and the workers have the bug, too.
"""

from __future__ import annotations

import os
import sys

from saldo.cli import main
from torture.mutants import NAMES

VARIABLE = "TORTURE_MUTANT"
"""Of the environment: which bug, for the processes that are spawned."""


def take_name() -> None:
    """From the arguments; what is left is Saldo's."""
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        sys.exit(f"usage: python -m torture.mutants NAME serve; NAME: {', '.join(NAMES)}")
    os.environ[VARIABLE] = sys.argv.pop(1)


if __name__ == "__main__":
    take_name()

NAMES[os.environ[VARIABLE]].plant()

if __name__ == "__main__":
    main()
