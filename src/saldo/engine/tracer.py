"""What the engine tells of traced requests (`saldo.observability.tracing.Tracing`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class Tracer(Protocol):
    """Makes spans of them."""

    def current(self) -> Any | None:
        """The context of the request that the running task answers; None: it isn't traced."""

    def batch(
        self,
        traced: Sequence[Any],
        taken_at: float,
        sent_at: float,
        done_at: float,
        attributes: dict[str, Any],
    ) -> None:
        """A batch is recorded. All times are of `time.monotonic`."""


class Traced(NamedTuple):
    """A request of a batch that is traced."""

    context: Any
    queued_at: float
