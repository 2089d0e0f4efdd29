"""`saldo`, and `python -m saldo`: the command line, if the packages that it needs are there."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point."""
    try:
        from saldo.cli import main as run  # noqa: PLC0415 - the client comes without what it needs

        run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in {"", "saldo"}:
            raise
        print(  # noqa: T201
            f"saldo: the packages of the service are not installed (no {missing}): pip install 'saldo[server]'",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
