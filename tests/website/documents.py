"""Commands of the documentation, each with the output that is printed after it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from harness.program.environment import copy_environment

DOCS = Path(__file__).parents[2] / "docs"
SECONDS_MAX = 240

_BLOCK = re.compile(r"^( *)```(sh|text)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_VARYING = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?Z"), "TIME"),
    (re.compile(r"\d+\.\d s\b"), "SECONDS"),
    (re.compile(r"[\d,]+ rows/s"), "RATE"),
    (re.compile(r"\d+ entries sealed"), "SEALED"),
)


class Block(NamedTuple):
    """Commands, and their expected output on stdout if there is one."""

    commands: str
    output: str | None


def blocks(name: str) -> list[Block]:
    """Return the blocks of a page of the documentation, in order, without the indentation of a list."""
    found: list[Block] = []
    for indent, language, indented in _BLOCK.findall((DOCS / name).read_text(encoding="utf-8")):
        text = indented.removeprefix(indent).replace(f"\n{indent}", "\n")
        if language == "sh":
            found.append(Block(text, None))
        else:
            assert found and found[-1].output is None, f"{name}: an output without commands: {text}"
            found[-1] = found[-1]._replace(output=text)
    return found


def run(commands: str, directory: Path, url: str, **settings: str) -> str:
    """Return the output on stdout of commands, run by a shell that stops at the first error.

    Args:
        directory: the working directory.
        url: URL of the service, for commands that find one by themselves.
        settings: further variables of the environment.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands.replace("http://localhost:8000", url)],
        cwd=directory,
        env=copy_environment()
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SALDO_URL": url,
            "TZ": "UTC",
            "COLUMNS": "100",
        }
        | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
    return done.stdout


def plain(output: str) -> list[str]:
    """Return the lines of an output without empty ones, and with uuids, times and rates replaced."""
    for pattern, word in _VARYING:
        output = pattern.sub(word, output)
    return [line.rstrip() for line in output.splitlines() if line.strip()]
