"""The logging of a process."""

from __future__ import annotations

from saldo.observability import logs
from saldo.settings.model import Settings


def set_up_logging(settings: Settings) -> None:
    """Set up logging to standard error, with the level and the format that the settings name."""
    logs.configure_logging(settings.log_level, settings.log_format)
