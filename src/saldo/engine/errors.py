"""Errors for requests without a decision.

EngineError
├── QueueFullError         not sent: the queue is full, or the engine is stopping
├── DeadlineExceededError  not decided in time: this attempt recorded nothing
├── OutcomeUnknownError    possibly recorded: only a recorded outcome under the same uuid is final
└── RequestFailedError     the database rejected this request: nothing was recorded
"""

from __future__ import annotations


class EngineError(Exception):
    """The base class of the engine's errors."""


class QueueFullError(EngineError):
    """Raised when the queue is full, or when the engine is stopping."""


class DeadlineExceededError(EngineError):
    """Raised for a request that was not sent before its deadline, or whose statement timed out. Nothing was
    recorded."""


class OutcomeUnknownError(EngineError):
    """Raised for a request that was sent to the database and may be recorded, now or later."""


class RequestFailedError(EngineError):
    """Raised for a request that the database rejected without an outcome, because of a bug in Saldo."""
