"""The entry point of `saldo` and `python -m saldo`: runs the command line if its packages are installed."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn


class Termination:
    """The handler of SIGTERM, which ends the program in the same orderly way as Ctrl-C.

    A container's program is process 1, to which the kernel does not deliver signals without a handler. The server, the
    relay and the commands that have work to finish install handlers of their own later.
    """

    INTERRUPTED = 130
    """The exit code of a command that was interrupted (`saldo.cli.exit_codes.ExitCode`)."""

    def __init__(self) -> None:
        self._heard = False

    def __call__(self, *_: object) -> NoReturn:
        self._heard = True
        raise KeyboardInterrupt

    def exit_code(self, code: object) -> object:
        """Return the exit code of the program for the exit code of the command."""
        return 128 + signal.SIGTERM if self._heard and code == self.INTERRUPTED else code


def main() -> None:
    """Run the command line."""
    termination = Termination()
    # The handler is installed before anything that may wait.
    signal.signal(signal.SIGTERM, termination)
    try:
        _run()
    except SystemExit as end:
        end.code = termination.exit_code(end.code)  # type: ignore[assignment]
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
        sys.exit(1)


if __name__ == "__main__":
    main()
