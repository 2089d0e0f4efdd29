"""The baselines of the benchmarks: a bare echo, COPY, a round trip to the database, and fsync on the disk."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx

from benchmarks.ledgers import Ledger, Ledgers, read_statement
from benchmarks.machine import ROOT

READY_SECONDS_MAX = 30
PAGE_BYTES = 8192
"""The minimum number of bytes that PostgreSQL writes to its WAL for a commit."""

_ECHO = (
    *(
        "benchmarks.scenarios.echo:app",
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--lifespan",
        "off",
    ),
    *("--no-access-log", "--log-level", "error"),
)


class Echo(NamedTuple):
    """A running echo server: its address and its process id."""

    url: str
    pid: int


@contextmanager
def run_echo(port: int) -> Iterator[Echo]:
    """Run uvicorn with an application that returns the request's body."""
    command = [sys.executable, "-m", "uvicorn", *_ECHO, "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, url)
        yield Echo(url, process.pid)
    finally:
        process.terminate()
        process.wait()


def copy_rate(ledgers: Ledgers, ledger: Ledger) -> float:
    """Copy the posted entries into a table like the log, in one durable transaction. Returns rows per second."""
    with ledger.connect() as connection:
        with connection.cursor().copy(read_statement("copy/copy_out").encode()) as source:
            rows = [bytes(piece) for piece in source]
        count = len(rows)
        blocks = [b"".join(rows[begin : begin + 1000]) for begin in range(0, count, 1000)]
        connection.execute(read_statement("copy/create_table").encode())
        ledgers.settle()
        began = time.perf_counter()
        with connection.cursor().copy(read_statement("copy/copy_in").encode()) as target:
            for block in blocks:
                target.write(block)
        seconds = time.perf_counter() - began
        connection.execute(read_statement("copy/drop_table").encode())
    return count / seconds


def round_trip_rate(ledger: Ledger, seconds: float) -> float:
    """Run `SELECT 1` repeatedly, with the service's driver and over its socket. Returns queries per second."""
    return asyncio.run(_round_trips(ledger.service_role_url, seconds))


def sync_rate(directory: Path, seconds: float) -> float:
    """Write a page and sync it repeatedly, on the disk of the data directory. Returns pages per second."""
    path = directory / "syncs"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, bytes(PAGE_BYTES), 0)
        os.fsync(descriptor)
        count = 0
        began = time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            os.pwrite(descriptor, os.urandom(PAGE_BYTES), 0)
            os.fdatasync(descriptor)
            count += 1
    finally:
        os.close(descriptor)
        path.unlink()
    return count / elapsed


async def _round_trips(url: str, seconds: float) -> float:
    connection = await asyncpg.connect(url)
    count = 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        await connection.fetchval("SELECT 1")
        count += 1
    await connection.close()
    return count / elapsed


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.post(url, content=b"ready").content == b"ready":
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError("the echo does not start")
