"""The command line. Each command is a file in `commands`; the modules here are shared by several commands.

program     the commands, and the handling of their errors
exit_codes  exit codes
output      tables, JSON, notes
connection  the service that a command uses, or a service of its own
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program."""
    try:
        # Loading the program takes a moment, in which Ctrl-C must work as well.
        from saldo.cli.program import run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.stderr.write("saldo: interrupted\n")
        sys.exit(130)
