"""Small file systems in memory, so that a disk can be filled without filling the disk of the machine."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

SIZE_MB = 768
"""Size of a file system in MB. PostgreSQL keeps up to 256 MB of WAL, and the data of an hour takes some hundred
more."""

_BALLAST = "ballast"


class Disk:
    """A directory, on a file system of its own where that is allowed (as root, and not in every container)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.refused = ""
        """The reason why there is no small file system; empty if there is one."""

    def open(self) -> None:
        """Create the directory, and mount a small file system on it if that is possible."""
        self.directory.mkdir(parents=True)
        if os.geteuid() != 0 or shutil.which("mount") is None:
            self.refused = "only root may mount a small file system"
            return
        options = f"size={SIZE_MB}m,mode=0755"
        command = ["mount", "-t", "tmpfs", "-o", options, "saldo-torture", str(self.directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.refused = f"a small file system can't be mounted: {done.stderr.strip()}"

    def close(self) -> None:
        """Unmount the file system; its content is lost."""
        if not self.refused and self.directory.is_mount():
            subprocess.run(["umount", "--lazy", str(self.directory)], check=False)

    def fill(self) -> None:
        """Fill the disk completely. Call it again to fill what has become free meanwhile."""
        assert not self.refused
        descriptor = os.open(self.directory / _BALLAST, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            length = os.fstat(descriptor).st_size
            step = 64 * 2**20
            while step >= 4096:
                try:
                    os.posix_fallocate(descriptor, length, step)
                    length += step
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 4
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        """Remove the file that `fill` has written."""
        with suppress(FileNotFoundError):
            (self.directory / _BALLAST).unlink()
