"""Stop signals in a program of several processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def block_signals() -> Iterator[None]:
    """Block the stop signals for the processes that are started inside, until they call `unblock_signals`.

    Ctrl-C reaches all processes of a terminal. A process that is still loading its code would end with a traceback.
    """
    # The start of the resource tracker unblocks the signals. It is started here, because it would otherwise start with
    # the first process.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_signals() -> None:
    """Receive the signals that arrived since this process was started, and all further ones."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
