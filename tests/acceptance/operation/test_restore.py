"""Positions in the log that clients keep, after a restore, with the service as users run it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from harness.program import forks
from harness.program.service import ServiceProcess, run_service_process


def _saldo(directory: Path, *arguments: str) -> None:
    forks.run(arguments, cwd=directory, check=True, capture_output=True)


def _create_users(running: ServiceProcess, *names: str) -> None:
    for name in names:
        assert httpx.post(f"{running.url}/v1/user", json={"name": name}).is_success


def _follow(running: ServiceProcess, **headers: str) -> tuple[int, str]:
    """Return the status, and the first id of the stream or the body of the error."""
    url = f"{running.url}/v1/events"
    with httpx.stream("GET", url, params={"from": "start"}, headers=headers) as answer:
        if answer.status_code != 200:
            return answer.status_code, answer.read().decode()
        return 200, next(
            line.removeprefix("id: ") for line in answer.iter_lines() if line.startswith("id: ")
        )


def test_position_in_the_lost_log_is_rejected_after_a_restore(tmp_path: Path) -> None:
    """Let the restored log grow to where the lost one was: a position in the lost log must be rejected, not resumed."""
    with run_service_process(tmp_path) as running:
        _create_users(running, "one")
        _saldo(tmp_path, "backup", "backup")
        _create_users(running, "lost")
        status, lost_id = _follow(running)
        assert status == 200
    _saldo(tmp_path, "restore", "backup", "--data-dir", "restored")
    with run_service_process(tmp_path, SALDO_DATA_DIR="restored") as running:
        _create_users(running, "another", "and another")
        status, problem = _follow(running, **{"Last-Event-ID": lost_id})
        assert status == 410
        assert json.loads(problem)["code"] == "position_gone"
        status, _ = _follow(running)
        assert status == 200
