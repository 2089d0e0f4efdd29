"""The tutorial and the how-to pages of the command line, run word for word."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from harness.program.service import run_service_process
from tests.website.documents import blocks, plain, run


def test_the_tutorial_is_followed_word_for_word(tmp_path: Path) -> None:
    first, path, *others = blocks("tutorial.md")
    # `make serve` is in the README, too; here the test waits for the message that it is ready.
    assert (first.commands, first.output) == (
        "make serve\n",
        "listening on http://127.0.0.1:8000\n",
    )
    assert path.commands == 'export PATH="$PWD/.venv/bin:$PATH"\n'
    assert len(others) > 8
    with run_service_process(tmp_path) as running:
        for commands, output in others:
            printed = run(commands, tmp_path, running.url)
            if output is None:
                assert "█" in printed  # the chart
            else:
                assert plain(printed) == plain(output), commands
        chart = httpx.get(f"{running.url}/console/users/1")
    assert chart.status_code == 200
    assert "Artem" in chart.text


@pytest.mark.parametrize(
    ("page", "number"), [("command-line", 4), ("import-export", 3), ("statements", 3)]
)
def test_how_to_commands_work_as_printed(page: str, number: int, tmp_path: Path) -> None:
    commands = [block.commands for block in blocks(f"howto/{page}.md")]
    assert len(commands) == number
    with run_service_process(tmp_path) as running:
        if page != "command-line":  # that page creates its own users
            run("saldo user create Olga && saldo deposit 1 100", tmp_path, running.url)
        printed = [run(each, tmp_path, running.url) for each in commands]
    assert all(each.strip() for each in printed)
