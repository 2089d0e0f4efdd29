"""Files that commands write: readable by their owner only, and never written through a planted link."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.repository import ROOT
from saldo.cli import state_file
from saldo.cli.commands import statement
from saldo.cli.exit_codes import CommandError
from saldo.cli.importing.rejects_file import RejectsFile
from saldo.cli.private_files import (
    create_new_file,
    create_or_replace_file,
    open_existing_file,
    open_to_append,
    write_atomically,
)
from saldo.cli.state_file import FileIdentity, hold_lock, write_state


def _reject(path: Path) -> None:
    with RejectsFile(path, ("a",), ",", 0) as rejects:
        rejects.write([("1", "why", "x")])


def _replace(path: Path) -> None:
    with write_atomically(path) as file:
        file.write(b"x")


def _lock(path: Path) -> None:
    with hold_lock(path, "another has it"):
        assert path.stat().st_mode & 0o777 == 0o600


WAYS: dict[str, Callable[[Path], None]] = {
    "rejects": _reject,
    "state": lambda path: write_state(path, FileIdentity(1, 1, "")),
    "statement": lambda path: statement._write_output(path, b"x"),
    "replaced": _replace,
    "lock": _lock,
    "created": lambda path: create_new_file(path).close(),
    "created anew": lambda path: create_or_replace_file(path).close(),
    "appended": lambda path: open_to_append(path).close(),
}


@pytest.mark.parametrize("way", WAYS)
def test_files_are_readable_by_their_owner_only(tmp_path: Path, way: str) -> None:
    before = os.umask(0)
    try:
        WAYS[way](tmp_path / "file")
    finally:
        os.umask(before)
    left = list(tmp_path.iterdir())
    assert left == ([] if way == "lock" else [tmp_path / "file"])
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in left)


@pytest.mark.parametrize("way", WAYS)
def test_planted_link_is_not_followed(tmp_path: Path, way: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    for victim in (tmp_path / "elsewhere/there", tmp_path / "elsewhere/not-there"):
        if victim.name == "there":
            victim.write_text("precious")
        planted = tmp_path / "file"
        planted.symlink_to(victim)
        try:
            WAYS[way](planted)
        except (OSError, CommandError):
            assert planted.is_symlink()
        else:
            assert not planted.is_symlink()
        assert not victim.exists() or victim.read_text() == "precious"
        for left in tmp_path.glob("file*"):
            left.unlink()


def test_file_of_another_account_is_not_continued(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "a.json"
    write_state(file, FileIdentity(1, 1, ""))
    assert state_file.read_state(file, FileIdentity) == FileIdentity(1, 1, "")
    monkeypatch.setattr("saldo.cli.private_files.os.geteuid", lambda: file.stat().st_uid + 1)
    assert state_file.read_state(file, FileIdentity) is None
    for way in (open_existing_file, open_to_append):
        with pytest.raises(PermissionError, match="belongs to another account"):
            way(file)


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), write_atomically(file) as new:
        new.write(b"half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "old"


def test_only_one_module_opens_files_for_writing() -> None:
    """Check that no module opens files for writing by itself, which would use the umask's mode and follow links."""
    found = []
    for path in (ROOT / "src/saldo/cli").rglob("*.py"):
        for call in (
            each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call)
        ):
            name = (
                call.func.attr
                if isinstance(call.func, ast.Attribute)
                else getattr(call.func, "id", "")
            )
            modes = [each.value for each in call.args if isinstance(each, ast.Constant)]
            writes = name == "open" and any(
                set(str(mode)) & set("wax+") and len(str(mode)) < 4 for mode in modes
            )
            if writes or name in {"write_text", "write_bytes"}:
                found.append((path.name, call.lineno))
    # The log of a private service is in a private directory.
    assert {name for name, _ in found} <= {"child_service.py"}
