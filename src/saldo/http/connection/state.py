"""The states of a connection, and the table of its transitions.

The state answers three questions: may received data be parsed, may responses be written, and does closing have to wait
for the client? Everything else about a connection belongs to a single request, to flow control or to a timer.

Each side can end first. The client ends its side when it has sent everything (`HALF_CLOSED`), and the server ends its
own when it rejects a request that it has not read to its end (`LINGERING`).
"""

from __future__ import annotations

from enum import Enum, auto
from types import MappingProxyType
from typing import Final


class ConnectionState(Enum):
    """The state of a connection."""

    OPEN = auto()
    """Requests are parsed and answered."""
    HALF_CLOSED = auto()
    """The client has closed its side. The requests that it sent before are parsed and answered, and then the connection
    is closed."""
    REJECTING = auto()
    """A request can't be read. The rejection is sent after the responses to earlier requests, and further data is
    discarded."""
    REJECTING_HALF_CLOSED = auto()
    """As `REJECTING`, and the client has closed its side. The connection is closed after the rejection."""
    LINGERING = auto()
    """The server has closed its side, and discards data until the client closes the other side (RFC 9112, 9.6)."""
    CLOSING = auto()
    """The connection is closed or aborted, and buffered data may still be sent."""
    CLOSED = auto()
    """The connection has ended."""


_S = ConnectionState

TRANSITIONS: Final = MappingProxyType(
    {
        _S.OPEN: frozenset({_S.HALF_CLOSED, _S.REJECTING, _S.LINGERING, _S.CLOSING, _S.CLOSED}),
        _S.HALF_CLOSED: frozenset({_S.REJECTING_HALF_CLOSED, _S.CLOSING, _S.CLOSED}),
        _S.REJECTING: frozenset({_S.REJECTING_HALF_CLOSED, _S.LINGERING, _S.CLOSING, _S.CLOSED}),
        _S.REJECTING_HALF_CLOSED: frozenset({_S.CLOSING, _S.CLOSED}),
        _S.LINGERING: frozenset({_S.CLOSING, _S.CLOSED}),
        _S.CLOSING: frozenset({_S.CLOSED}),
        _S.CLOSED: frozenset(),
    }
)
"""The states that can follow each state."""

PARSING: Final = frozenset({_S.OPEN, _S.HALF_CLOSED})
"""The states in which received data is parsed. In all other states received data is discarded."""

WRITING: Final = PARSING | {_S.REJECTING, _S.REJECTING_HALF_CLOSED}
"""The states in which responses are written. In all other states responses are dropped."""

CLIENT_ENDED: Final = frozenset({_S.HALF_CLOSED, _S.REJECTING_HALF_CLOSED})
"""The states in which the client has closed its side, and waits for responses."""


class ForbiddenTransitionError(Exception):
    """Raised for a transition that is not in the table, which is a bug."""


class ConnectionStateMachine:
    """The state of one connection, which its protocol and its transport share.

    Attributes:
        state: The current state.
        has_client_ended: Whether the client has closed its side, and waits for responses.
        may_parse: Whether received data is parsed.
        may_write: Whether responses are written.
    """

    # The properties of the state are stored as attributes, because they are read several times for each request.
    __slots__ = ("has_client_ended", "may_parse", "may_write", "state")

    def __init__(self) -> None:
        self.state = ConnectionState.OPEN
        self.may_parse = self.may_write = True
        self.has_client_ended = False

    def move_to(self, state: ConnectionState) -> None:
        """Change the state.

        Raises:
            ForbiddenTransitionError: The table has no transition from the current state to this one.
        """
        if state not in TRANSITIONS[self.state]:
            raise ForbiddenTransitionError(
                f"a connection can't change from {self.state.name} to {state.name} (a bug in Saldo)"
            )
        self.state = state
        self.may_parse = state in PARSING
        self.may_write = state in WRITING
        self.has_client_ended = state in CLIENT_ENDED

    def reject(self) -> None:
        """Record that a request can't be read, so that no further data is parsed."""
        self.move_to(_S.REJECTING_HALF_CLOSED if self.has_client_ended else _S.REJECTING)

    def end_client_side(self) -> None:
        """Record that the client has closed its side. The connection stays open for the remaining responses."""
        rejecting = self.state is ConnectionState.REJECTING
        self.move_to(_S.REJECTING_HALF_CLOSED if rejecting else _S.HALF_CLOSED)

    def close(self) -> None:
        """Record that the connection is closed. No effect if it is already closing or closed."""
        if self.state not in {_S.CLOSING, _S.CLOSED}:
            self.move_to(_S.CLOSING)
