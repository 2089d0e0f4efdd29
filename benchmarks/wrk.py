"""wrk as the driver of single requests: in C, one thread, one line of a file a request."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

SCRIPT = Path(__file__).parent / "wrk.lua"

MISSING = "wrk is not installed: apt-get install wrk. Rows that need it are skipped."


@dataclass(frozen=True, slots=True)
class Requests:
    """What to send: the method, the path of a POST, and a file with a body (or a GET's path) a line."""

    method: str
    path: str
    file: Path


@dataclass(frozen=True, slots=True)
class Load:
    """What one wrk does: where to, what, over how many connections, and with which key."""

    url: str
    requests: Requests
    connections: int
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Driven:
    """What wrk has measured. Latencies in milliseconds, corrected by wrk for what it could not send in time."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    refused: int
    """Answers that were not 2xx."""


class DriverError(Exception):
    """wrk could not do what it was asked to."""


class _Report(msgspec.Struct):
    """The line that wrk.lua prints at the end."""

    requests: int
    microseconds: int
    p50: int
    p99: int
    refused: int
    failed: int
    wrapped: int


def installed() -> bool:
    """Whether there is a wrk."""
    return shutil.which("wrk") is not None


def posts(file: Path, lines: Iterable[str]) -> Requests:
    """POSTs of one transaction a line."""
    return _written("POST", "/v1/transaction", file, lines)


def gets(file: Path, paths: Iterable[str]) -> Requests:
    """GETs of the paths, over and over."""
    return _written("GET", "-", file, paths)


def drive(load: Load, seconds: int) -> Driven:
    """One wrk for so many seconds."""
    return drive_all([load], seconds)[0]


def drive_all(loads: Sequence[Load], seconds: int) -> list[Driven]:
    """Several at the same time.

    Raises:
        DriverError: a request failed on its way, or a POST was sent twice for want of others.
    """
    running = [
        subprocess.Popen(_command(load, seconds), stdout=subprocess.PIPE, text=True)
        for load in loads
    ]
    outputs = [process.communicate()[0] for process in running]
    return [_driven(load, output) for load, output in zip(loads, outputs, strict=True)]


def _written(method: str, path: str, file: Path, lines: Iterable[str]) -> Requests:
    with file.open("w") as output:
        output.writelines(f"{line}\n" for line in lines)
    return Requests(method, path, file)


def _command(load: Load, seconds: int) -> list[str]:
    requests = load.requests
    return [
        *("wrk", "--threads", "1", "--connections", str(load.connections)),
        *("--duration", f"{seconds}s", "--timeout", "30s", "--script", str(SCRIPT), load.url),
        *("--", requests.method, requests.path, str(requests.file)),
        *([] if load.key is None else [load.key]),
    ]


def _driven(load: Load, output: str) -> Driven:
    lines = output.strip().splitlines() or [""]
    try:
        report = msgspec.json.decode(lines[-1], type=_Report)
    except msgspec.DecodeError:
        raise DriverError(f"wrk said: {output}") from None
    if report.failed or not report.requests:
        raise DriverError(f"{report.failed} requests to {load.url} failed")
    if report.wrapped and load.requests.method == "POST" and load.requests.path != "/":
        raise DriverError(f"too few lines in {load.requests.file}")
    return Driven(
        report.requests,
        report.requests / report.microseconds * 1e6,
        report.p50 / 1000,
        report.p99 / 1000,
        report.refused,
    )
