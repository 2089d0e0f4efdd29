"""The interface between a relay and a sink."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from saldo.events.event import Event
from saldo.store.sinks import SinkLease

CLOSE_SECONDS_MAX = 2.0
"""Maximum time for closing a connection to a broker in an orderly way. After this time the connection is dropped."""


class SinkError(Exception):
    """Raised when the sink can't be reached, or did not confirm all events. The message is one line for the
    operator."""


def create_tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a TLS context that trusts the certificates of a file; None means those that the system trusts.

    Raises:
        OSError: the file can't be read as PEM.
    """
    return ssl.create_default_context(cafile=ca_file)


class Sink(Protocol):
    """A destination for events. It is opened for one lease, and closed when the lease ends."""

    @property
    def name(self) -> str:
        """The name under which the sink's cursors are stored."""

    async def open(self, lease: SinkLease) -> None:
        """Connect to the sink.

        Raises:
            SinkError: the sink can't be reached.
        """

    async def publish(self, events: Sequence[Event]) -> int:
        """Publish the events in this order, and wait until all are confirmed. Return the number of events that had no
        receiver.

        Raises:
            SinkError: some events are not confirmed. Any of the events may have been published.
        """

    async def get_blocked_reason(self) -> str | None:
        """Return the reason why the open connection accepts no events at the moment; None if it accepts events.

        A broker that is low on memory or disk blocks. This is not a failure: events already sent are confirmed later.
        """

    async def close(self) -> None:
        """Close the connection within `CLOSE_SECONDS_MAX`. This method never raises."""
