"""Orderly stops under adverse conditions: repeated signals, and clients that don't read their answers."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from harness.program.service import ServiceProcess, run_service_process
from tests.acceptance.raw import connect, deposit, read_to_end

STREAM = (
    b"POST /v1/transactions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
LIST = b"GET /v1/transactions?shard=%d&limit=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n"
RECEIVE_BYTES = 4096


def fill(running: ServiceProcess, transactions: int) -> int:
    """Create a user with this number of transactions, and return the id."""
    user_id = int(httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"])
    items = [json.loads(deposit(user_id)) for _ in range(transactions)]
    posted = httpx.post(f"{running.url}/v1/transactions", json=items, timeout=60)
    assert posted.status_code == 200
    return user_id


@contextmanager
def streams(running: ServiceProcess, user_id: int, count: int) -> Iterator[list[socket.socket]]:
    """Yield open streams, each with one answered line and no end."""
    with ExitStack() as stack:
        opened = [stack.enter_context(connect(running.url)) for _ in range(count)]
        for each in opened:
            line = deposit(user_id) + b"\n"
            each.sendall(STREAM + b"%x\r\n%b\r\n" % (len(line), line))
            received = b""
            while b'"posted"' not in received:
                received += each.recv(65536)
        yield opened


def in_order(running: ServiceProcess) -> None:
    """Check that the process ends in order."""
    assert running.process.wait(60) == 0, running.output()
    said = running.output()
    for wrong in ("Traceback", "Cancel ", "Exception in", "did not end within"):
        assert wrong not in said, said
    assert "Application shutdown complete." in said


@pytest.mark.parametrize(
    ("workers", "signals"),
    [
        ("1", (signal.SIGINT, signal.SIGINT)),
        ("1", (signal.SIGTERM, signal.SIGINT, signal.SIGINT)),
        ("2", (signal.SIGINT, signal.SIGINT)),
    ],
    ids=["SIGINT twice", "SIGTERM, then SIGINT", "two workers"],
)
def test_a_second_signal_changes_nothing(
    tmp_path: Path, workers: str, signals: tuple[signal.Signals, ...]
) -> None:
    with run_service_process(tmp_path, SALDO_WORKERS=workers) as running:
        user_id = fill(running, 1)
        with streams(running, user_id, 5) as opened:
            for number in signals:
                # All its processes get the signal, as from a terminal.
                os.killpg(running.process.pid, number)
            for each in opened:
                last = read_to_end(each)
                assert b"overloaded" in last and last.endswith(b"0\r\n\r\n")
        in_order(running)


def test_clients_that_do_not_read_do_not_hold_up_a_stop(tmp_path: Path) -> None:
    with (
        run_service_process(tmp_path, SALDO_SHUTDOWN_TIMEOUT_SECONDS="20") as running,
        ExitStack() as stack,
    ):
        user_id = fill(running, 1500)
        for _ in range(5):
            lists = stack.enter_context(connect(running.url, RECEIVE_BYTES))
            lists.sendall(LIST % (user_id % 64) * 20)
            assert lists.recv(1)
        posted = stack.enter_context(connect(running.url))
        body = deposit(user_id)
        posted.sendall(
            b"POST /v1/transaction HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        os.kill(running.process.pid, signal.SIGTERM)
        in_order(running)


def test_streams_that_a_client_paces_are_not_logged_as_slow(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_SLOW_LOG_SECONDS="0.001") as running:
        user_id = int(httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"])
        with streams(running, user_id, 3) as opened:
            for each in opened:
                each.sendall(b"0\r\n\r\n")
                received = b""
                while not received.endswith(b"0\r\n\r\n"):
                    received += each.recv(65536)
        with httpx.stream("GET", f"{running.url}/v1/events?from=start") as events:
            assert next(events.iter_lines())
        assert running.end() == 0
        slow = [line for line in running.output().splitlines() if '"slow request"' in line]
        assert slow  # the user's requests, since the limit is one millisecond
        for route in ("/v1/transactions", "/v1/events"):
            assert not [line for line in slow if f'"{route}"' in line]
