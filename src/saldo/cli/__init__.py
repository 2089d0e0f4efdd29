"""The command line. Each command is a file in `commands`; the modules here are shared by several commands.

program     the commands, and the handling of their errors
exit_codes  exit codes
output      tables, JSON, notes
connection  connections to a running service, to a temporary one, or to the database
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program."""
    try:
        # Loading the program takes a moment. Ctrl-C must work during that time, too.
        from saldo.cli.program import run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.stderr.write("saldo: interrupted\n")
        sys.exit(130)
