"""Equivalence of a forked `saldo` (`harness.program.forks`) and one in a Python that was started for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.program import forks
from harness.program.command import Program

WAYS = [
    pytest.param(
        True,
        id="forked",
        marks=pytest.mark.skipif(not forks.ENABLED, reason="forking is off, or not Linux"),
    ),
    pytest.param(False, id="started"),
]

SECONDS_MAX = 60


@pytest.fixture(params=WAYS)
def is_forked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Return whether processes are forked in this test."""
    monkeypatch.setattr(forks, "ENABLED", request.param)
    return bool(request.param)


def both(monkeypatch: pytest.MonkeyPatch, *arguments: str, **options: Any) -> list[tuple[Any, ...]]:
    """Return the exit code and the output of a command run in both ways."""
    found = []
    for enabled in (True, False):
        monkeypatch.setattr(forks, "ENABLED", enabled)
        done = forks.run(arguments, capture_output=True, text=True, **options)
        found.append((done.returncode, done.stdout, done.stderr))
    return found


@pytest.mark.skipif(not forks.ENABLED, reason="forking is off, or not Linux")
@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--help"], 0, "Usage: saldo"),
        (["deposit", "1"], 2, "Missing argument"),
        (["keys", "list"], 3, "somewhere.example"),
        (["export", "no/a.csv"], 2, "the directory no does not exist"),
        (["balance", "1", "--date", "2026-13-01"], 2, "2026-13-01"),
    ],
)
def test_forked_and_started_commands_have_equal_exit_codes_and_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], code: int, named: str
) -> None:
    """Compare the two ways with another directory, environment and terminal width."""
    (tmp_path / ".env").write_text("SALDO_DATABASE_URL=postgresql://somewhere.example/saldo\n")
    environment = Program(COLUMNS="70", TZ="Asia/Tokyo").environment
    forked, started = both(monkeypatch, *arguments, cwd=tmp_path, env=environment)
    assert forked == started
    assert forked[0] == code
    assert named in "".join(forked[1:])


@contextmanager
def run_watch(**options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Yield a command that waits for an answer that does not come."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = Program(SALDO_URL=url).environment
        command = ["watch", "--from", "start"]
        with forks.start(
            command, env=environment, stderr=subprocess.PIPE, text=True, **options
        ) as process:
            try:
                connection, _ = silent.accept()
                with connection:
                    yield process
            finally:
                process.kill()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
@pytest.mark.usefixtures("is_forked")
def test_signals_end_a_forked_command(number: signal.Signals, code: int) -> None:
    with run_watch() as process:
        assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=SECONDS_MAX)
    assert process.returncode == process.poll() == process.wait() == code
    assert "Traceback" not in errors


@pytest.mark.usefixtures("is_forked")
@pytest.mark.parametrize("own", [True, False])
def test_forked_command_has_its_own_session_on_request(own: bool) -> None:
    with run_watch(start_new_session=own) as process:
        assert os.getsid(process.pid) == (process.pid if own else os.getsid(0))
        assert os.getpgid(process.pid) == (process.pid if own else os.getpgid(0))


@pytest.mark.usefixtures("is_forked")
def test_wait_raises_an_error_at_its_timeout() -> None:
    with run_watch() as process, pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(subprocess.TimeoutExpired):
            forks.run(["watch", "--url", url], timeout=0.01)


def test_commands_are_forked_unless_the_environment_forbids_it(is_forked: bool) -> None:
    with run_watch() as process:
        assert isinstance(process, forks.ForkedProcess) == is_forked
    done = forks.start(["--help"], env=os.environ | {"PYTHONWARNINGS": "error"}, stdout=-3)
    assert not isinstance(done, forks.ForkedProcess)
    assert done.wait(SECONDS_MAX) == 0


@pytest.mark.usefixtures("is_forked")
def test_failed_command_raises_an_error_with_check() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        forks.run(["--nothing"], check=True, capture_output=True)
