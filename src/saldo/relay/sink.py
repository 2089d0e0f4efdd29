"""What a relay needs of a sink."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from saldo.relay.events import Event
from saldo.store.sinks import Lease


class SinkError(Exception):
    """The sink can't be reached, or did not confirm. The message is one line for the operator."""


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """What a client needs to check the sink's certificate: signed by them, or, None, by whom the system trusts.

    Raises:
        OSError: the file can't be read as PEM.
    """
    return ssl.create_default_context(cafile=ca_file)


class Sink(Protocol):
    """Somewhere that events are published to. Opened for one lease, closed at its end."""

    @property
    def name(self) -> str:
        """Under which its cursors are kept."""

    async def open(self, lease: Lease) -> None:
        """Connects.

        Raises:
            SinkError: it can't be reached.
        """

    async def publish(self, events: Sequence[Event]) -> int:
        """Returns when the sink has confirmed all of them, in this order; how many went to nobody.

        Raises:
            SinkError: some are not confirmed; all of them may have been published.
        """

    async def close(self) -> None:
        """Says farewell; never raises."""
