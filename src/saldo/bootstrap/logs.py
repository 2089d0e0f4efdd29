"""What a process says while it runs."""

from __future__ import annotations

from saldo.observability import logs
from saldo.settings import Settings


def set_up_logging(settings: Settings) -> None:
    """Lines on standard error."""
    logs.set_up(settings.log_level, settings.log_format)
