"""The name of the package: no text tells users to install another project's package with the old name."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

NOT_OURS = {".git", ".venv", "build", "data", "dist", "node_modules", "__pycache__"}

_INSTALLS = re.compile(
    r"""\b(?:pip3?|pipx|uv|poetry)\s+(?:pip\s+)?(?:install|add)\s+(?:-\S+\s+)*['"`]?saldo(?![-\w/])(?!\.\w)"""
)
_EXTRAS = re.compile(r"(?<![-\w./])saldo\[(?:server|parquet|pdf|tracing|test|bench)\b")


def wrong_lines(text: str) -> list[str]:
    """Return the commands of a text that would install another project's package."""
    joined = re.sub(r"[\s\\#>|*]+", " ", text)
    return [match[0] for pattern in (_INSTALLS, _EXTRAS) for match in pattern.finditer(joined)]


def files() -> Iterator[Path]:
    waiting = [ROOT]
    while waiting:
        for path in waiting.pop().iterdir():
            if path.name in NOT_OURS or path.name.endswith("_cache") or path.is_symlink():
                continue
            if path.is_dir():
                waiting.append(path)
            elif path != Path(__file__):
                yield path


def test_no_file_says_to_install_another_projects_package() -> None:
    found = {}
    for path in files():
        if wrong := wrong_lines(path.read_bytes().decode(errors="ignore")):
            found[str(path.relative_to(ROOT))] = wrong
    assert found == {}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("pip install saldo", True),
        ("`pip install 'saldo[server]'`", True),
        ("run pip\n    # install -U saldo.", True),
        ("uv pip install saldo", True),
        ('"saldo[pdf]",', True),
        ("pip install 'saldo-ledger[server]'", False),
        ("pip install saldo_ledger-0.1.0-py3-none-any.whl", False),
        ("pip install .", False),
        ("the wallet of saldo[1]", False),
    ],
)
def test_check_detects_wrong_install_commands(text: str, wrong: bool) -> None:
    assert bool(wrong_lines(text)) is wrong


def test_package_names_are_consistent() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "saldo-ledger"
    assert project["scripts"] == {"saldo": "saldo.__main__:main"}


@pytest.mark.parametrize("target", [".venv/.serve", ".venv/.test", ".venv/.bench"])
def test_make_removes_the_package_of_the_old_name_first(target: str) -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", "PYTHON=python3", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    last = shown.rindex("pip install -q -c")
    assert 0 < shown.rindex("pip uninstall -q -y saldo", 0, last) < last


@pytest.mark.parametrize(
    ("user_id", "given", "started_with"),
    [("0", None, "true"), ("0", "", "true"), ("0", "false", "false"), ("999", None, "not set")],
)
def test_make_serve_works_as_root_too(
    tmp_path: Path, user_id: str, given: str | None, started_with: str
) -> None:
    """Run the script with an account and a program of the test's own, which prints what is set for the service."""
    for name, line in (
        (".venv/bin/saldo", 'echo "$1: ${SALDO_AS_ROOT-not set}"'),
        ("id", f"echo {user_id}"),
    ):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    if given is not None:
        environment["SALDO_AS_ROOT"] = given
    made = ["--file", str(ROOT / "Makefile"), "--old-file", ".venv/.serve", "PYTHON=python3"]
    (tmp_path / ".venv/.serve").touch()
    done = subprocess.run(
        ["make", *made, "serve"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"serve: {started_with}\n"
