"""Tracking of what a connection waits for, so that a client that takes too long is disconnected."""

from __future__ import annotations

from typing import Any, Final, Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from saldo.http.connection.state import ConnectionStateMachine
from saldo.http.connection.timeout_sweeper import (
    SHUTDOWN_WRITE_TIMEOUT_SECONDS,
    InputLimits,
    TimeoutPhase,
    TimeoutSweeper,
)
from saldo.http.request_state import get_request_state

_SHORTER_AT_STOP: Final = "answer"


class TrackedConnection(Protocol):
    """The attributes of a connection that show which action of the client the connection waits for.

    Attributes:
        connection: The state of the connection.
        running: The request that is being answered, or was answered last, with its response.
        cycle: The request that was read last, with its response.
        scope: The scope of the request whose head was begun last.
        body_bytes: The number of bytes of bodies that were received.
        timeout_keep_alive_task: The timer that closes the connection while it is idle.
    """

    connection: ConnectionStateMachine
    flow: FlowControl
    transport: Any
    running: Any
    cycle: Any
    scope: Any
    body_bytes: int
    timeout_keep_alive_task: Any

    def is_reading_head(self) -> bool:
        """Return whether a request has begun and its head is incomplete."""

    def has_own_write_timeout(self) -> bool:
        """Return whether the request that is being answered limits the time of its writes itself."""


class TimeoutTracker:
    """The tracker of one connection. It records which action of the client the connection waits for, and since when the
    client has made no progress."""

    __slots__ = ("_limits", "_since", "_sweeper", "_unsent_bytes", "_waits_for", "_write_progress")

    def __init__(self, limits: InputLimits, sweeper: TimeoutSweeper) -> None:
        self._limits = limits
        self._sweeper = sweeper
        self._waits_for: tuple[TimeoutPhase, Any] | None = None
        self._since = 0.0
        self._unsent_bytes = 0
        self._write_progress = 0
        """The number of checks at which the client had read a part of its response."""

    def find_expired(self, protocol: TrackedConnection, now: float) -> TimeoutPhase | None:
        """Return the action of the client for which the connection has waited too long, or None if there is none.

        Args:
            protocol: The connection.
            now: The time by the loop's clock, in seconds.
        """
        waits_for = self._find_phase(protocol)
        if waits_for is None or waits_for != self._waits_for:
            self._waits_for, self._since = waits_for, now
            return None
        phase = waits_for[0]
        if now - self._since < self._get_seconds_max(phase):
            return None
        self._waits_for = None
        return phase

    def _get_seconds_max(self, phase: TimeoutPhase) -> float:
        seconds = self._limits.seconds[phase]
        if self._sweeper.is_stopping and phase == _SHORTER_AT_STOP:
            return min(seconds, SHUTDOWN_WRITE_TIMEOUT_SECONDS)
        return seconds

    def _find_phase(self, protocol: TrackedConnection) -> tuple[TimeoutPhase, Any] | None:
        """Return the next action of the client, with a value that changes when the client makes progress.

        None means that the connection does not wait for the client.
        """
        cycle = protocol.cycle
        reads_body = cycle is not None and cycle.more_body
        streams = reads_body and get_request_state(cycle.scope).on_stall is not None
        unsent = protocol.transport.get_write_buffer_size()
        if unsent < self._unsent_bytes:
            self._write_progress += 1
        self._unsent_bytes = unsent
        # A client may send a whole stream before it reads the answers. It must read only if no more answers can be
        # stored.
        if (
            unsent
            and not (streams and not protocol.flow.read_paused)
            and not protocol.has_own_write_timeout()
        ):
            return "answer", (self._write_progress, protocol.body_bytes)
        if protocol.transport.is_closing():
            return "end", None
        if protocol.flow.read_paused or not protocol.connection.may_parse:
            return None
        if protocol.is_reading_head():
            return "head", id(protocol.scope)
        if not reads_body:
            return None if _is_answering_or_idle(protocol) else ("head", id(protocol.scope))
        if cycle.response_complete:
            return "end", id(cycle)
        if streams:
            return None if cycle.body else ("stream", protocol.body_bytes)
        return "body", id(cycle)


def _is_answering_or_idle(protocol: TrackedConnection) -> bool:
    """Return whether a request is being answered, or the keep-alive timer limits the time until the next one."""
    running = protocol.running
    answering = running is not None and not running.response_complete
    return answering or protocol.timeout_keep_alive_task is not None
