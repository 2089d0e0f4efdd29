"""The command line. One file a command; what several need is in files of their own.

program     which commands there are, and how they end
exits       exit codes
output      tables, JSON, notes
connecting  the service that a command talks to; `child`: one of its own
"""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point."""
    try:
        # Loading takes a moment, in which Ctrl-C is heard, too.
        from saldo.cli.program import run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.stderr.write("saldo: interrupted\n")
        sys.exit(130)
