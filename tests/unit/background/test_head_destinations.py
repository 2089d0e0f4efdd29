"""Publication of heads to a directory and by a command."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

from saldo.background.head_destinations import (
    CommandDestination,
    DirectoryDestination,
    PublicationError,
)

NAME, DOCUMENT = "head-000000000001-0badcafe.txt", b"a head\n"


def make_command(code: str, *arguments: str, timeout_seconds: float = 60) -> CommandDestination:
    return CommandDestination(
        (sys.executable, "-c", code, *arguments), timeout_seconds=timeout_seconds
    )


async def test_directory_gets_a_complete_file_that_others_can_read(tmp_path: Path) -> None:
    await DirectoryDestination(tmp_path, timeout_seconds=60).publish(NAME, DOCUMENT)
    (path,) = tmp_path.iterdir()
    assert (path.name, path.read_bytes()) == (NAME, DOCUMENT)
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444


async def test_file_of_an_earlier_attempt_is_kept(tmp_path: Path) -> None:
    destination = DirectoryDestination(tmp_path, timeout_seconds=60)
    await destination.publish(NAME, DOCUMENT)
    before = (tmp_path / NAME).stat()
    await destination.publish(NAME, DOCUMENT)
    assert (tmp_path / NAME).stat() == before
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("other", [b"", DOCUMENT[:3], b"another"])
async def test_file_with_another_content_is_never_replaced(tmp_path: Path, other: bytes) -> None:
    (tmp_path / NAME).write_bytes(other)
    with pytest.raises(PublicationError, match="another ledger publishes"):
        await DirectoryDestination(tmp_path, timeout_seconds=60).publish(NAME, DOCUMENT)
    assert (tmp_path / NAME).read_bytes() == other
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


async def test_planted_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / NAME).symlink_to(target)
    with pytest.raises(PublicationError):
        await DirectoryDestination(tmp_path / "heads", timeout_seconds=60).publish(NAME, DOCUMENT)
    assert not target.exists()


async def test_missing_directory_is_one_line(tmp_path: Path) -> None:
    destination = DirectoryDestination(tmp_path / "gone", timeout_seconds=60)
    with pytest.raises(PublicationError, match=r"gone/head-.*: No such file or directory$"):
        await destination.publish(NAME, DOCUMENT)


async def test_command_gets_the_head_and_its_name_without_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALDO_DATABASE_URL", "postgresql://saldo:secret@db/saldo")
    monkeypatch.setenv("HEADS_BUCKET", "heads")
    code = (
        "import json, os, sys; from pathlib import Path; Path(sys.argv[1]).write_text(json.dumps("
        "[sys.stdin.read(), sys.argv[2:], sorted(k for k in os.environ if 'SALDO' in k or 'HEADS' in k)]))"
    )
    output = tmp_path / "output"
    await make_command(code, str(output), "key={name}", "$(false); {other}").publish(NAME, DOCUMENT)
    assert output.read_text() == (
        f'["a head\\n", ["key={NAME}", "$(false); {{other}}"], ["HEADS_BUCKET"]]'
    )


async def test_failed_command_is_one_line_with_the_end_of_its_error_output() -> None:
    destination = make_command(
        "import sys; sys.stderr.write('x' * 100_000 + '\\nno access'); sys.exit(3)"
    )
    with pytest.raises(PublicationError, match=r"exit code 3: x{400,} no access$") as raised:
        await destination.publish(NAME, DOCUMENT)
    assert len(str(raised.value)) < 1000


async def test_command_that_reads_nothing_is_judged_by_its_exit_code() -> None:
    await make_command("").publish(NAME, bytes(16_000))
    with pytest.raises(PublicationError, match="exit code 1"):
        await make_command("raise SystemExit(1)").publish(NAME, bytes(16_000))


async def test_missing_program_is_one_line() -> None:
    destination = CommandDestination(("/nowhere/publish",), timeout_seconds=60)
    with pytest.raises(PublicationError, match="can't run /nowhere/publish: No such file"):
        await destination.publish(NAME, DOCUMENT)


async def test_slow_command_is_killed() -> None:
    destination = make_command("import time; time.sleep(600)", timeout_seconds=0.01)
    with pytest.raises(PublicationError, match=r"took longer than 0\.01 s and was killed"):
        await destination.publish(NAME, DOCUMENT)


async def test_interrupted_command_is_killed_with_its_children(tmp_path: Path) -> None:
    """Let the command's child hold a pipe open, whose end shows that the child is gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = (
        "import subprocess, sys; f = open(sys.argv[1], 'w'); f.write('started'); f.flush(); "
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'], stdout=f)"
    )
    publishing = asyncio.create_task(make_command(code, str(pipe)).publish(NAME, DOCUMENT))
    with await asyncio.to_thread(pipe.open, "rb") as file:
        assert await asyncio.to_thread(file.read, len(b"started")) == b"started"
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        assert await asyncio.to_thread(file.read) == b""
