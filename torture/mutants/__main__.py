"""Run `saldo serve` with a mutant planted in each of its processes: `python -m torture.mutants NAME serve`.

The command `python torture/mutants NAME serve` does the same in any directory.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # This entry is the directory of this file or the working directory, and is replaced by the root of the repository.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    runpy.run_module("torture.mutants.process", run_name="__main__", alter_sys=True)
