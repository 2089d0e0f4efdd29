"""`python -m torture.mutants NAME serve` is `saldo serve` with the bug NAME planted in each of its processes.

So is `python torture/mutants NAME serve`, in any directory.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # The directory of this file, or the working directory.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    runpy.run_module("torture.mutants.process", run_name="__main__", alter_sys=True)
