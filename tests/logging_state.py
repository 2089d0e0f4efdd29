"""The loggers of the tests' process, which commands and services inside of it configure for themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SET_UP: Final = (None, "saldo", "alembic")
"""The loggers whose levels `saldo.observability.logs.configure_logging` changes; None is the root logger."""


@contextmanager
def restore_logging() -> Iterator[None]:
    """Give the loggers their levels back at the end, and remove the handlers that were added.

    The handlers of pytest stay: it adds and removes them itself, one for each phase of a test.
    """
    levels = [(logger := logging.getLogger(name), logger.level) for name in SET_UP]
    root = logging.getLogger()
    before = root.handlers[:]
    try:
        yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)
        for handler in root.handlers[:]:
            if type(handler) is logging.StreamHandler and handler not in before:
                root.removeHandler(handler)
