"""Clocks that can be set: libfaketime, for the processes that are started with it."""

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
"""How late a process notices that its clock was set."""


_SHARED = Path("/dev/shm")

_NOTHING_YET = struct.pack("=8q", 0, 0, 0, -1, 0, -1, 0, -1).ljust(4096, b"\0")
"""What libfaketime shares between processes: two counters, and three starting times that no one has set."""


def library() -> Path | None:
    """libfaketime, if it is installed (Debian: package faketime)."""
    return next((path for path in _LIBRARIES if path.exists()), None)


class Clock:
    """The wall clock of the processes that are given its environment. Monotonic clocks stay as they are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._library = library()
        self._name = f"saldo-torture-{uuid4().hex[:12]}"
        self.set_by(0)

    def set_by(self, seconds: int) -> None:
        """How far it is ahead of the machine's."""
        # In one move: who reads in the middle of a write would find no time at all.
        beside = self._path.with_suffix(".new")
        beside.write_text(f"{seconds:+d}s\n")
        beside.chmod(0o644)
        beside.rename(self._path)

    def open(self) -> dict[str, str]:
        """What it needs, made anew; the environment of a process that is to have this clock.

        Empty where it can't be had.
        """
        if self._library is None:
            return {}
        # Of its own making these would be root's alone, then not found by the server's account, and be left behind
        # by whoever is killed.
        self.close()
        semaphore, memory = f"/{self._name}", f"/{self._name}-memory"
        _make_semaphore(semaphore)
        shared = _SHARED / memory[1:]
        shared.write_bytes(_NOTHING_YET)
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
        """Nothing of it is left."""
        for name in (f"sem.{self._name}", f"{self._name}-memory"):
            (_SHARED / name).unlink(missing_ok=True)


def _make_semaphore(name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.sem_open.restype = ctypes.c_void_p
    if not libc.sem_open(name.encode(), os.O_CREAT, ctypes.c_uint(0o666), ctypes.c_uint(1)):
        raise OSError(ctypes.get_errno(), f"semaphore {name}")
