"""Adjustable clocks: libfaketime, for the processes that are started with it."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from uuid import uuid4

_LIBRARIES = [
    *Path("/usr/lib").glob("*/faketime/libfaketime.so.1"),
    Path("/usr/local/lib/faketime/libfaketime.so.1"),
]

CACHE_SECONDS = 1
"""Time until a process notices that its clock was set, in seconds."""


_SHARED = Path("/dev/shm")

_INITIAL_SHARED_MEMORY = struct.pack("=8q", 0, 0, 0, -1, 0, -1, 0, -1).ljust(4096, b"\0")
"""Initial content of libfaketime's shared memory: two counters, and three starting times that are not set yet."""


def library() -> Path | None:
    """Return the path of libfaketime, or None if it is not installed (Debian: package faketime)."""
    return next((path for path in _LIBRARIES if path.exists()), None)


class Clock:
    """The wall clock of the processes that are started with its environment. Monotonic clocks are not changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._library = library()
        self._name = f"saldo-torture-{uuid4().hex[:12]}"
        self.set_offset(0)

    def set_offset(self, seconds: int) -> None:
        """Set the clock's offset from the machine's clock, in seconds."""
        # The file is replaced in one step, because a process that reads it during a write would find no time.
        beside = self._path.with_suffix(".new")
        beside.write_text(f"{seconds:+d}s\n")
        beside.chmod(0o644)
        beside.rename(self._path)

    def open(self) -> dict[str, str]:
        """Create the shared objects of the clock, and return the environment of a process that uses this clock.

        The environment is empty if libfaketime is not installed.
        """
        if self._library is None:
            return {}
        # If libfaketime created these objects itself, only root could open them. The server's account could not use
        # them, and killed processes would leave them behind.
        self.close()
        semaphore, memory = f"/{self._name}", f"/{self._name}-memory"
        _make_semaphore(semaphore)
        shared = _SHARED / memory[1:]
        shared.write_bytes(_INITIAL_SHARED_MEMORY)
        for path in (shared, _SHARED / f"sem.{self._name}"):
            path.chmod(0o666)
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_SHARED": f"{semaphore} {memory}",
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": str(CACHE_SECONDS),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def close(self) -> None:
        """Remove the shared objects of the clock."""
        for name in (f"sem.{self._name}", f"{self._name}-memory"):
            (_SHARED / name).unlink(missing_ok=True)


def _make_semaphore(name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.sem_open.restype = ctypes.c_void_p
    if not libc.sem_open(name.encode(), os.O_CREAT, ctypes.c_uint(0o666), ctypes.c_uint(1)):
        raise OSError(ctypes.get_errno(), f"semaphore {name}")
