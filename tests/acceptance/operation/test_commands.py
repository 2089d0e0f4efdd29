"""Every command that the documents print works as printed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.prerequisites import find_program, skip_or_fail
from harness.program.service import ServiceProcess, run_service_process

ROOT = Path(__file__).parents[3]


def _path(directory: Path) -> str:
    """Return a PATH for the commands, with a replacement for `uuidgen`, which not every machine has."""
    if find_program("curl", "curl") is None:
        skip_or_fail("curl", "no curl (Debian: package curl)")
    if shutil.which("uuidgen"):
        return os.environ["PATH"]
    shim = directory / "uuidgen"
    shim.write_text("#!/bin/sh\ncat /proc/sys/kernel/random/uuid\n")
    shim.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def _run(command: str, running: ServiceProcess, path: str) -> str:
    done = subprocess.run(
        ["bash", "-euc", command.replace("http://localhost:8000", running.url)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": path, "TZ": "UTC"},
    )
    return done.stdout


def _blocks(document: str) -> list[tuple[str, str]]:
    """Return the commands that call the service, each with the answer printed after it, if there is one."""
    text = (ROOT / document).read_text()
    found = re.findall(r"```sh\n(.*?)```\n(?:\s*```json\n(.*?)```)?", text, re.DOTALL)
    return [(command, answer) for command, answer in found if "curl" in command]


def test_how_to_commands_for_the_api_work(tmp_path: Path) -> None:
    path = _path(tmp_path)
    commands = _blocks("docs/howto/http-api.md")
    assert len(commands) >= 10
    with run_service_process(tmp_path) as running:
        for command, _ in commands:
            output = _run(command, running, path)
            assert '"status":' not in output, output
            assert output.startswith("{"), output


@pytest.mark.parametrize("readme", ["README.md", "README.ru.md"])
def test_quick_start_prints_what_the_readme_shows(tmp_path: Path, readme: str) -> None:
    path = _path(tmp_path)
    blocks = re.findall(
        r"```sh\n([^`]*curl [^`]*)```\n\n```(?:json|text)\n(.*?)```",
        (ROOT / readme).read_text(),
        re.DOTALL,
    )
    assert len(blocks) == 4
    with run_service_process(tmp_path) as running:
        for commands, shown in blocks:
            printed = "".join(
                _run(command, running, path).replace("\r\n", "\n").rstrip("\n") + "\n"
                for command in commands.splitlines()
            )
            _assert_shown(printed, shown)


def _assert_shown(printed: str, shown: str) -> None:
    """Compare an output with the one in a document, where `…` stands for lines that are left out."""
    pattern = ".*".join(re.escape(part) for part in _plain(shown).split("…\n"))
    assert re.fullmatch(pattern, _plain(printed), re.DOTALL), printed


def _plain(output: str) -> str:
    """Replace the times at which the service recorded something."""
    return re.sub(r'("(?:created|recorded)_at":)"[^"]*"', r'\1"TIME"', output)


def test_quick_starts_in_both_languages_have_the_same_code() -> None:
    english, russian = (
        re.findall(r"```(?:sh|json|text|python)\n.*?```", (ROOT / name).read_text(), re.DOTALL)
        for name in ("README.md", "README.ru.md")
    )
    assert english == russian
    assert len(english) == 3 + 8 + 1


def test_how_to_commands_for_bulk_requests_work(tmp_path: Path) -> None:
    path = _path(tmp_path)
    commands = _blocks("docs/howto/post-many.md")
    assert len(commands) == 4
    with run_service_process(tmp_path) as running:
        for command, answer in commands:
            output = _run(command, running, path)
            if answer:
                assert output == answer
            elif "transactions" in command:
                items = json.loads(output)  # an array is answered with an array
                assert [item["code"] for item in items] == ["posted"] * command.count("uuid")


def test_how_to_commands_for_webhooks_work(tmp_path: Path) -> None:
    path = _path(tmp_path)
    commands = _blocks("docs/howto/webhooks.md")
    assert len(commands) == 3
    with run_service_process(tmp_path) as running:
        outputs = [_run(command, running, path) for command, _ in commands]
    assert all('"code"' not in output for output in outputs), outputs
    assert '"secret":"whsec_' in outputs[0]
    assert '"enabled":true' in outputs[1]
    assert outputs[2].endswith('{"replayed":0}')


def test_how_to_commands_for_live_events_work(tmp_path: Path) -> None:
    path = _path(tmp_path)
    ((command, _),) = _blocks("docs/howto/live-events.md")
    with run_service_process(tmp_path) as running:
        _run(_blocks("docs/howto/post-many.md")[0][0], running, path)
        following = subprocess.Popen(
            ["bash", "-euc", f"exec {command}".replace("http://localhost:8000", running.url)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={"PATH": path},
        )
        assert following.stdout is not None
        with following, following.stdout as lines:
            found = next(line for line in lines if line.startswith("event: "))
            following.terminate()
    assert found == "event: saldo.user.created\n"
