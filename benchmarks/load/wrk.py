"""The load driver wrk for single requests.

It is written in C, runs with one thread, and sends one line of a file per request.
"""

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
    """The requests to send: the method, the path of a POST, and a file with one body (or path of a GET) per line."""

    method: str
    path: str
    file: Path


@dataclass(frozen=True, slots=True)
class WrkLoad:
    """The load of one process of wrk: the URL, the requests, the number of connections, and the API key."""

    url: str
    requests: Requests
    connections: int
    key: str | None = None


@dataclass(frozen=True, slots=True)
class WrkResult:
    """The measurements of wrk. The latencies are in milliseconds, and wrk has corrected them for its own delays."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    refused: int
    """The number of responses that were not 2xx."""


class DriverError(Exception):
    """The error for a run of wrk that failed or is invalid."""


class _Report(msgspec.Struct):
    """The line that wrk.lua prints at the end."""

    requests: int
    microseconds: int
    p50: int
    p99: int
    refused: int
    failed: int
    wrapped: int


def is_installed() -> bool:
    """Return whether wrk is installed."""
    return shutil.which("wrk") is not None


def posts(file: Path, lines: Iterable[str]) -> Requests:
    """Write a file of POSTs with one transaction per line."""
    return _write_requests("POST", "/v1/transaction", file, lines)


def gets(file: Path, paths: Iterable[str]) -> Requests:
    """Write a file of GETs. wrk repeats the paths when it reaches the end."""
    return _write_requests("GET", "-", file, paths)


def drive(load: WrkLoad, seconds: int) -> WrkResult:
    """Run one process of wrk for a number of seconds."""
    return drive_all([load], seconds)[0]


def drive_all(loads: Sequence[WrkLoad], seconds: int) -> list[WrkResult]:
    """Run several processes of wrk at the same time.

    Raises:
        DriverError: A request failed, or a POST was repeated because the file had too few lines.
    """
    running = [
        subprocess.Popen(_command(load, seconds), stdout=subprocess.PIPE, text=True)
        for load in loads
    ]
    outputs = [process.communicate()[0] for process in running]
    return [_parse_report(load, output) for load, output in zip(loads, outputs, strict=True)]


def _write_requests(method: str, path: str, file: Path, lines: Iterable[str]) -> Requests:
    with file.open("w") as output:
        output.writelines(f"{line}\n" for line in lines)
    return Requests(method, path, file)


def _command(load: WrkLoad, seconds: int) -> list[str]:
    requests = load.requests
    return [
        *("wrk", "--threads", "1", "--connections", str(load.connections)),
        *("--duration", f"{seconds}s", "--timeout", "30s", "--script", str(SCRIPT), load.url),
        *("--", requests.method, requests.path, str(requests.file)),
        *([] if load.key is None else [load.key]),
    ]


def _parse_report(load: WrkLoad, output: str) -> WrkResult:
    lines = output.strip().splitlines() or [""]
    try:
        report = msgspec.json.decode(lines[-1], type=_Report)
    except msgspec.DecodeError:
        raise DriverError(f"wrk said: {output}") from None
    if report.failed or not report.requests:
        raise DriverError(f"{report.failed} requests to {load.url} failed")
    if report.wrapped and load.requests.method == "POST" and load.requests.path != "/":
        raise DriverError(f"too few lines in {load.requests.file}")
    return WrkResult(
        report.requests,
        report.requests / report.microseconds * 1e6,
        report.p50 / 1000,
        report.p99 / 1000,
        report.refused,
    )
