"""Delayed handling of Ctrl-C and SIGTERM: a command completes its current step first, so that its outcome is known."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Records whether a signal has asked the command to stop, and provides a sleep that such a signal interrupts."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def is_requested(self) -> bool:
        """True if a signal has asked the command to stop."""
        return self._event.is_set()

    def sleep(self, seconds: float) -> None:
        """Sleep.

        Raises:
            KeyboardInterrupt: The command was asked to stop.
        """
        if self._event.wait(seconds):
            raise KeyboardInterrupt

    def handle_signal(self, number: int, frame: FrameType | None) -> None:
        """Record the request to stop. A second signal interrupts the command immediately."""
        if self._event.is_set():
            raise KeyboardInterrupt
        self._event.set()


@contextmanager
def handle_stop_signals() -> Iterator[StopRequest]:
    """Handle the signals while the block runs."""
    stop = StopRequest()
    before = {
        number: signal.signal(number, stop.handle_signal)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
