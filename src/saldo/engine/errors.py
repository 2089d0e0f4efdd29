"""Why a request got no decision.

EngineError
├── QueueFullError         never sent: the queue is full, or the engine is stopping
├── DeadlineExceededError  never sent: nothing was recorded by this attempt
├── OutcomeUnknownError    sent, and not known in time: only sending it again decides
└── RequestFailedError     the database refuses this very request; nothing was recorded
"""

from __future__ import annotations


class EngineError(Exception):
    """The base of all of them."""


class QueueFullError(EngineError):
    """No room in the queue."""


class DeadlineExceededError(EngineError):
    """Waited in the queue for as long as it may."""


class OutcomeUnknownError(EngineError):
    """Sent to the database, and no answer in time."""


class RequestFailedError(EngineError):
    """Refused by the database for a reason that is no outcome: a fault of ours."""
