"""Wakeups from service processes to the relay's process: empty datagrams that mean "the log has new entries".

A wakeup is lost if the relay doesn't run or its socket buffer is full. Therefore the relay also polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

WAKEUP_INTERVAL_SECONDS_MIN = 0.01
"""Minimum interval between two wakeups. If the relay woke up for each batch, it would need so much processor time that
posting slows down."""


class WakeupSender:
    """A sender of wakeups to a socket. It never waits and never fails."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._resting: asyncio.TimerHandle | None = None
        self._due = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def wake(self) -> None:
        """Send a wakeup now, or when the minimum interval since the last one has passed."""
        if self._resting is not None:
            self._due = True
            return
        loop = asyncio.get_running_loop()
        self._resting = loop.call_later(WAKEUP_INTERVAL_SECONDS_MIN, self._on_interval_end)
        with contextlib.suppress(OSError):
            self._socket.sendto(b"", self._path)

    def close(self) -> None:
        """Stop sending, and close the socket."""
        if self._resting is not None:
            self._resting.cancel()
        self._socket.close()

    def _on_interval_end(self) -> None:
        self._resting = None
        if self._due:
            self._due = False
            self.wake()


class _WakeupProtocol(asyncio.DatagramProtocol):
    def __init__(self, on_wakeup: Callable[[], None]) -> None:
        self._on_wakeup = on_wakeup

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._on_wakeup()


async def receive_wakeups(path: Path, on_wakeup: Callable[[], None]) -> asyncio.BaseTransport:
    """Call `on_wakeup` for each wakeup that arrives at the path, until the returned transport is closed."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.setblocking(False)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - left by a relay that was killed; a blocking call is fast enough here
    listening.bind(str(path))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _WakeupProtocol(on_wakeup), sock=listening
    )
    return transport
