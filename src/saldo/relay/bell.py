"""How service processes wake the relay's process: a datagram that says nothing but "there is something new".

A ring may be lost, when the relay isn't there or has many to read: it looks by itself every now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

RING_SECONDS_MIN = 0.01
"""Between two rings: whoever is woken for each batch takes a processor from those who post."""


class Bell:
    """Rings at a path; never waits, never fails."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._resting: asyncio.TimerHandle | None = None
        self._due = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self) -> None:
        """Something has been posted: now, or as soon as the last ring is long enough ago."""
        if self._resting is not None:
            self._due = True
            return
        loop = asyncio.get_running_loop()
        self._resting = loop.call_later(RING_SECONDS_MIN, self._rested)
        with contextlib.suppress(OSError):
            self._socket.sendto(b"", self._path)

    def close(self) -> None:
        """Rings no more."""
        if self._resting is not None:
            self._resting.cancel()
        self._socket.close()

    def _rested(self) -> None:
        self._resting = None
        if self._due:
            self._due = False
            self.ring()


class _Listening(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._heard()


async def listen(path: Path, heard: Callable[[], None]) -> asyncio.BaseTransport:
    """Calls `heard` for each ring at the path, until the transport is closed."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.setblocking(False)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - of a relay that was killed; no waiting for a disk here
    listening.bind(str(path))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Listening(heard), sock=listening)
    return transport
