"""The entry point of `saldo` and `python -m saldo`: runs the command line if its packages are installed."""

from __future__ import annotations

import signal
import sys

from saldo.cli.signals import TERMINATION


def main() -> None:
    """Run the command line."""
    # The handler is installed before anything that may wait.
    signal.signal(signal.SIGTERM, TERMINATION)
    try:
        _run()
    except SystemExit as end:
        end.code = TERMINATION.adjust_exit_code(end.code)
        raise


def _run() -> None:
    try:
        from saldo.cli import main as run  # noqa: PLC0415 - the client comes without what it needs

        run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in {"", "saldo"}:
            raise
        print(  # noqa: T201
            f"saldo: the packages of the service are not installed (no {missing}): pip install 'saldo-ledger[server]'",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
