"""Protection against running the service as root: an error, or a warning if the settings allow it."""

from __future__ import annotations

import logging
import os

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.settings.model import Settings

_log = logging.getLogger("saldo")


def refuse_root(settings: Settings) -> None:
    """Refuse a start as root, unless the settings allow it.

    Raises:
        CommandError: The process runs as root, and `as_root` is not set.
    """
    if os.geteuid() == 0 and not settings.as_root:
        raise CommandError(
            "refusing to run as root, because a vulnerability would then expose the whole machine: "
            "run the service under a dedicated account (docs/howto/operate.md), or set SALDO_AS_ROOT=true",
            ExitCode.USAGE,
        )


def warn_about_root() -> None:
    """Log a warning if the process runs as root, which the settings allow."""
    if os.geteuid() == 0:
        _log.warning(
            "running as root: a vulnerability would expose the whole machine; "
            "run the service under a dedicated account (docs/howto/operate.md)"
        )
