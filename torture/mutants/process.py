"""The main module of each process of a service that has a bug planted.

When multiprocessing spawns a process, the new process first imports the main module of its parent, unless this is the
`__main__` of a package. Therefore `__main__` runs this module as the main module, so that the relay and the workers
have the bug, too.
"""

from __future__ import annotations

import os
import sys

from saldo.cli import main
from torture.mutants import NAMES

MUTANT_VARIABLE = "TORTURE_MUTANT"
"""Environment variable with the name of the mutant, for the processes that are spawned."""


def pop_mutant_name() -> None:
    """Move the mutant's name from the arguments to the environment; the remaining arguments are Saldo's."""
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        sys.exit(f"usage: python -m torture.mutants NAME serve; NAME: {', '.join(NAMES)}")
    os.environ[MUTANT_VARIABLE] = sys.argv.pop(1)


if __name__ == "__main__":
    pop_mutant_name()

NAMES[os.environ[MUTANT_VARIABLE]].plant()

if __name__ == "__main__":
    main()
