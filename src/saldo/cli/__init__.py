"""The command line. Each command is a file in `commands`; the modules here are shared by several commands.

command_table  the commands with their descriptions
root_help      the help of the program
program        the application, and the handling of errors
exit_codes     exit codes
output         tables, JSON, notes
connection     connections to a running service, to a temporary one, or to the database
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the program."""
    try:
        if "_SALDO_COMPLETE" not in os.environ:
            from saldo.cli.root_help import print_help_or_version  # noqa: PLC0415 - see below

            code = print_help_or_version(sys.argv[1:])
            if code is not None:
                sys.exit(code)
        # Loading the program takes a moment. Ctrl-C must work during that time, too.
        from saldo.cli.program import run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.stderr.write("saldo: interrupted\n")
        sys.exit(130)
