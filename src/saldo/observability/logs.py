"""Logs: lines on standard error, readable in a terminal, JSON otherwise; each says which request it is about.

No amounts and no names at level info or above: logs are read by more people than the ledger is.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from contextvars import ContextVar
from typing import Any, Final, Literal

import structlog
from structlog.typing import EventDict, Processor

LogFormat = Literal["auto", "console", "json"]

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/#traceparent-header"""


REQUEST: Final[ContextVar[tuple[str, bytes | None] | None]] = ContextVar(
    "saldo request", default=None
)
"""The request that the running task answers: its id, and the client's traceparent as it came, unread. A plain tuple: it
is made for every request, and seldom looked at."""

TRACE_ID: Final[ContextVar[str | None]] = ContextVar("saldo trace", default=None)
"""The trace that the running task's spans belong to, in hexadecimal; None: it isn't traced."""


def set_up(level: str, format_: LogFormat) -> None:
    """All loggers of this process, ours and the libraries', write so from now on."""
    readable = format_ == "console" or (format_ == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request,
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if readable
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _add_request(_: Any, __: str, event: EventDict) -> EventDict:
    request = REQUEST.get()
    if request is not None:
        event["request_id"], traceparent = request
        if traceparent is not None:
            found = _TRACEPARENT.fullmatch(traceparent.decode("latin-1"))
            if found is not None:
                event["trace_id"], event["parent_span_id"] = found.groups()
    trace_id = TRACE_ID.get()
    if trace_id is not None:
        event["trace_id"] = trace_id
    return event


class Occasionally:
    """Lets one through now and then: when everything is slow, a line for each would make it slower."""

    def __init__(self, seconds: float) -> None:
        """
        Args:
            seconds: between two.
        """
        self._seconds = seconds
        self._next_at = 0.0
        self._left_out = 0

    def left_out(self) -> int | None:
        """How many were not let through since the last; None: nor is this one."""
        now = time.monotonic()
        if now < self._next_at:
            self._left_out += 1
            return None
        count, self._left_out = self._left_out, 0
        self._next_at = now + self._seconds
        return count
