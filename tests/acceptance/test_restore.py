"""What others who keep a place in the log see after a restore, with the service as users run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx

from tests.acceptance.service import ServiceProcess, service


def _saldo(directory: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "saldo", *arguments], cwd=directory, check=True, capture_output=True
    )


def _create_users(running: ServiceProcess, *names: str) -> None:
    for name in names:
        assert httpx.post(f"{running.url}/v1/user", json={"name": name}).is_success


def _follow(running: ServiceProcess, **headers: str) -> tuple[int, str]:
    """The status, and the first id of the stream or what is said instead."""
    url = f"{running.url}/v1/events"
    with httpx.stream("GET", url, params={"from": "start"}, headers=headers) as answer:
        if answer.status_code != 200:
            return answer.status_code, answer.read().decode()
        return 200, next(
            line.removeprefix("id: ") for line in answer.iter_lines() if line.startswith("id: ")
        )


def test_a_place_in_the_lost_log_is_no_place_in_the_restored_one(tmp_path: Path) -> None:
    """The restored log grows again to where the lost one was: that place must be refused, not passed over."""
    with service(tmp_path) as running:
        _create_users(running, "one")
        _saldo(tmp_path, "backup", "backup")
        _create_users(running, "lost")
        status, lost_id = _follow(running)
        assert status == 200
    _saldo(tmp_path, "restore", "backup", "--data-dir", "restored")
    with service(tmp_path, SALDO_DATA_DIR="restored") as running:
        _create_users(running, "another", "and another")
        status, problem = _follow(running, **{"Last-Event-ID": lost_id})
        assert status == 410
        assert json.loads(problem)["code"] == "position_gone"
        status, _ = _follow(running)
        assert status == 200
