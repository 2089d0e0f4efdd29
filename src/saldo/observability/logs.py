"""Logging to standard error: readable lines in a terminal, JSON otherwise, each with the request that it belongs to.

Lines of level info or above contain no amounts and no names, because logs have more readers than the ledger.
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
"""The request that the running task processes: its id, and the client's traceparent, unparsed. The value is a plain
tuple, because it is created for every request and rarely read."""

TRACE_ID: Final[ContextVar[str | None]] = ContextVar("saldo trace", default=None)
"""The trace of the running task's spans, in hexadecimal; None if the task is not traced."""


def configure_logging(level: str, format_: LogFormat) -> None:
    """Configure all loggers of this process, including those of libraries."""
    is_readable = format_ == "console" or (format_ == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request,
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: Processor = (
        # Tracebacks are plain, because the pretty ones print local variables, which contain names and amounts.
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if is_readable
        else structlog.processors.JSONRenderer()
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
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact_rows,
                renderer,
            ],
        )
    )
    # At debug level, libraries log what they send and receive: events with amounts, passwords of brokers.
    library_level = max(logging.getLevelNamesMapping()[level.upper()], logging.INFO)
    logging.basicConfig(level=library_level, handlers=[handler], force=True)
    logging.getLogger("saldo").setLevel(level.upper())
    logging.getLogger("alembic").setLevel(logging.WARNING)


_ROWS: Final = re.compile(
    r"^(?:[ |+-]*)(?:DETAIL|HINT|CONTEXT|QUERY|WHERE|STATEMENT|LINE \d+): .*$"
    r"|^[ |]*\[(?:SQL|parameters): .*$"
    r"|\\n(?:DETAIL|HINT|CONTEXT): .*$",
    re.MULTILINE,
)
"""Lines that the drivers append to PostgreSQL's message, and that quote whole rows with names and amounts."""


def redact_rows(_: Any, __: str, event: EventDict) -> EventDict:
    """Remove everything that may quote rows of the ledger from all texts of a log event, including tracebacks.

    The store strips the errors that it raises (`saldo.store.errors`). This processor handles errors that reach a logger
    in another way.
    """
    for name, value in event.items():
        if isinstance(value, str) and ("\n" in value or "\\n" in value):
            event[name] = _ROWS.sub("[left out]", value)
    return event


def _add_request(_: Any, __: str, event: EventDict) -> EventDict:
    request = REQUEST.get()
    if request is not None:
        event["request_id"], traceparent = request
        if traceparent is not None:
            match = _TRACEPARENT.fullmatch(traceparent.decode("latin-1"))
            if match is not None:
                event["trace_id"], event["parent_span_id"] = match.groups()
    trace_id = TRACE_ID.get()
    if trace_id is not None:
        event["trace_id"] = trace_id
    return event


class LogRateLimiter:
    """Limits how often a recurring log line is written. When everything is slow, logging each occurrence would slow the
    service down further."""

    def __init__(self, seconds: float) -> None:
        """
        Args:
            seconds: minimum interval between two lines.
        """
        self._seconds = seconds
        self._next_at = 0.0
        self._omitted_lines = 0

    def take_turn(self) -> int | None:
        """Return the number of lines omitted since the last written line; None if this line must be omitted, too."""
        now = time.monotonic()
        if now < self._next_at:
            self._omitted_lines += 1
            return None
        count, self._omitted_lines = self._omitted_lines, 0
        self._next_at = now + self._seconds
        return count
