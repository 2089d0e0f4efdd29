"""A drain: a service with a drain time that is stopped is not ready, and still serves until that time is over."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from harness.program.service import ServiceProcess, run_service_process

DRAIN_SECONDS = "600"
"""Drain time that is longer than any test; a second signal ends it."""

SECONDS_MAX = 30
DRAINING = "draining: the readiness probe fails from now on"
STARTED = "Application startup complete."

_LIVE = b"GET /healthz/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
_CREATE = (
    b"POST /v1/user HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b'content-length: 12\r\n\r\n{"name":"%c"}'
)


def _deposit(client: httpx.Client, running: ServiceProcess, user_id: int) -> httpx.Response:
    body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
    return client.post(f"{running.url}/v1/transaction", json=body)


def _wait_until_said(running: ServiceProcess, line: str, processes: int) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while running.output().count(line) < processes:
        assert running.process.poll() is None, running.output()
        assert time.monotonic() < deadline, running.output()


@pytest.mark.parametrize("workers", [1, 2])
def test_draining_service_is_not_ready_but_serves(tmp_path: Path, workers: int) -> None:
    settings = {"SALDO_SHUTDOWN_DELAY_SECONDS": DRAIN_SECONDS, "SALDO_WORKERS": str(workers)}
    with run_service_process(tmp_path, **settings) as running, httpx.Client() as kept:
        user_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
        assert "connection" not in _deposit(kept, running, user_id).headers
        # A service that is still starting when it is stopped has nothing to drain, and ends at once.
        _wait_until_said(running, STARTED, workers)
        os.kill(running.process.pid, signal.SIGTERM)
        _wait_until_said(running, DRAINING, workers)
        last = _deposit(kept, running, user_id)
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        for _ in range(10):
            with httpx.Client() as new:
                answer = _deposit(new, running, user_id)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            ready = httpx.get(f"{running.url}/healthz/ready")
            assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
            assert httpx.get(f"{running.url}/healthz/live").status_code == 200
        # All processes get a second signal, which ends the drain.
        os.killpg(running.process.pid, signal.SIGTERM)
        assert running.process.wait(60) == 0
        assert "Traceback" not in running.output()
    with run_service_process(tmp_path) as running:
        balance = httpx.get(f"{running.url}/v1/user/{user_id}/balance").json()["balance"]
        assert balance == "12.00"


def test_idle_connection_is_closed_silently_after_the_drain(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_SHUTDOWN_DELAY_SECONDS=DRAIN_SECONDS) as running:
        with _connect(running) as idle:
            idle.sendall(_LIVE)
            assert b"connection: close" not in idle.recv(4096)
            os.kill(running.process.pid, signal.SIGTERM)
            _wait_until_said(running, DRAINING, 1)
            os.kill(running.process.pid, signal.SIGTERM)
            assert idle.recv(4096) == b""
        assert running.process.wait(60) == 0


def test_first_pipelined_request_is_answered_during_the_drain(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_SHUTDOWN_DELAY_SECONDS=DRAIN_SECONDS) as running:
        os.kill(running.process.pid, signal.SIGTERM)
        _wait_until_said(running, DRAINING, 1)
        with _connect(running) as pipelining:
            pipelining.sendall(b"".join(_CREATE % name for name in (b"a", b"b", b"c")))
            received = b""
            while piece := pipelining.recv(4096):
                received += piece
        assert received.count(b"HTTP/1.1 201 Created") == 1
        assert received.count(b"HTTP/1.1 ") == 1
        assert b"\r\nconnection: close\r\n" in received
        users = httpx.get(f"{running.url}/v1/user").json()["items"]
        assert [user["name"] for user in users] == ["a"]
        os.kill(running.process.pid, signal.SIGTERM)
        assert running.process.wait(60) == 0


def _connect(running: ServiceProcess) -> socket.socket:
    parts = urlsplit(running.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS_MAX)


def test_stop_without_a_drain_time_ends_at_once(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        assert running.end() == 0
        assert DRAINING not in running.output()
