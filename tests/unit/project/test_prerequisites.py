"""Optional servers and programs of the tests: each can be hidden alone, and the rest of the suite runs."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import pytest

from harness import prerequisites
from harness.repository import ROOT

FIND = """
import json, sys
from benchmarks.scenarios import events
from harness import chromium, prerequisites, prometheus
from harness.events import rabbitmq
from harness.postgresql import pgbouncer
print(json.dumps({
    "pgbouncer": pgbouncer.find(), "rabbitmq-server": rabbitmq.find(), "chromium": chromium.find(),
    "prometheus": prometheus.find("promtool"), "events": events.is_available(),
    "curl": prerequisites.find_program("sh", "curl"), "node": prerequisites.find_program("sh", "node"),
}))
"""


def _run_find(hidden: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", FIND],
        cwd=ROOT,
        env=os.environ | {"SALDO_TEST_HIDDEN": hidden},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_hidden_programs_are_not_found_and_others_are() -> None:
    there = _run_find("")
    hidden = _run_find("pgbouncer,rabbitmq-stream,curl,chromium")
    assert [hidden[name] for name in ("pgbouncer", "curl", "chromium")] == [None] * 3
    # The benchmark of events needs the broker and its stream plugin.
    assert hidden["events"] is False
    for name in ("rabbitmq-server", "prometheus", "node"):
        assert hidden[name] == there[name]


def test_hidden_server_is_not_connected_to() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prerequisites, "HIDDEN", frozenset({"rabbitmq-stream"}))
        patch.setattr("harness.prerequisites.socket.create_connection", None)
        assert not prerequisites.is_reachable(
            "rabbitmq-stream://127.0.0.1", 5552, "rabbitmq-stream"
        )


def test_unknown_name_to_hide_is_rejected() -> None:
    with pytest.raises(AssertionError, match="SALDO_TEST_HIDDEN: rabbit: not one of"):
        _run_find("rabbit")


def test_every_way_to_find_something_can_be_hidden() -> None:
    """Search for tests that look for a program or a server by themselves, which could not be hidden."""
    wrong = []
    for path in (path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*.py")):
        if path.name == "prerequisites.py":
            continue
        for call in (
            each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call)
        ):
            name = ast.unparse(call.func)
            argument = call.args[0] if call.args else None
            looked_for = argument.value if isinstance(argument, ast.Constant) else None
            if name == "shutil.which" and looked_for in PROGRAMS:
                wrong.append((path.name, looked_for))
    assert wrong == []


FOLDERS = ("tests", "harness", "benchmarks", "torture")

PROGRAMS = {
    "chromium",
    "pgbouncer",
    "prometheus",
    "promtool",
    "rabbitmq-server",
    "kubectl",
    "curl",
    "jq",
    "node",
    "psql",
    "nginx",
    "caddy",
    "nft",
    "systemd-analyze",
}
