"""Handling of Ctrl-C and SIGTERM: the exit code, and delayed handling by commands that complete their current step
first, so that its outcome is known."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NoReturn

from saldo.cli.exit_codes import ExitCode


class Termination:
    """The handler of SIGTERM, which ends the program in the same orderly way as Ctrl-C, but with its own exit code.

    A container's program is process 1, to which the kernel does not deliver signals without a handler. The server, the
    relay and the commands that have work to finish install handlers of their own, which call `record`.
    """

    def __init__(self) -> None:
        self._is_received = False

    def __call__(self, *_: object) -> NoReturn:
        self.record()
        raise KeyboardInterrupt

    def record(self) -> None:
        """Record that SIGTERM has ended the command."""
        self._is_received = True

    def adjust_exit_code(self, code: Any) -> Any:
        """Return the exit code of the program for the exit code of the command."""
        if self._is_received and code == ExitCode.INTERRUPTED:
            return int(ExitCode.TERMINATED)
        return code


TERMINATION: Final = Termination()
"""The handler of SIGTERM in this process."""


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
        if number == signal.SIGTERM:
            TERMINATION.record()
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
