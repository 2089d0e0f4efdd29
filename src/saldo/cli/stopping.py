"""Ctrl-C and SIGTERM, heard between two steps: the step under way is finished, and what was done is known."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether to stop; and sleeping that ends when it is to."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def asked(self) -> bool:
        """Whether somebody has asked for it."""
        return self._event.is_set()

    def sleep(self, seconds: float) -> None:
        """
        Raises:
            KeyboardInterrupt: it is to end.
        """
        if self._event.wait(seconds):
            raise KeyboardInterrupt

    def hear(self, number: int, frame: FrameType | None) -> None:
        """The handler. Whoever says it twice doesn't want to wait."""
        if self._event.is_set():
            raise KeyboardInterrupt
        self._event.set()


@contextmanager
def stopping() -> Iterator[Stop]:
    """Hears the signals for as long as this lasts."""
    stop = Stop()
    before = {
        number: signal.signal(number, stop.hear) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
