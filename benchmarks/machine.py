"""A description of the machine and the commit that the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


def stamp(postgresql_version: str, data_directory: Path) -> dict[str, str]:
    """Return the date, the commit and a description of the machine, one line each."""
    memory = psutil.virtual_memory().total / 2**30
    machine = (
        f"{os.cpu_count()} cores {_processor()}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release().partition('-')[0]}, data on {file_system(data_directory)}, "
        f"PostgreSQL {postgresql_version}, Python {platform.python_version()}"
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": machine,
    }


def file_system(directory: Path) -> str:
    """Return the type of the file system that contains a directory."""
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    resolved = directory.resolve()
    for parent in (resolved, *resolved.parents):
        if str(parent) in mounts:
            return str(mounts[str(parent)])
    return "?"


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1].strip() if found else platform.machine()


def _commit() -> str:
    """Return the commit of the source, with a mark if the working tree has changes."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--", "src", "benchmarks")
    return (commit or "?") + (" and changes" if changed else "")


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
