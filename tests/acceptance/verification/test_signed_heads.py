"""Signed heads of a service as users run it, with the commands of the how-to pages as printed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from harness.program import forks
from harness.program.service import ServiceProcess, run_service_process
from saldo.ledger.heads import SignedHead, parse_head
from tests.acceptance.operation.test_operate import Operator

ROOT = Path(__file__).parents[3]

SECONDS_MAX = 60


def find_command(page: str, beginning: str) -> str:
    """Return the command of a how-to page that begins with a text."""
    text = (ROOT / "docs/howto" / page).read_text("utf-8")
    blocks = [each.strip() for each in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
    (command,) = [each for each in blocks if each.startswith(beginning)]
    return str(command)


CREATE_KEY = find_command("prove.md", "saldo seals key")
VERIFY = find_command("verify.md", "saldo verify --seals")

SETTINGS = {
    "SALDO_SEALS_KEY_FILE": "seals.pem",
    "SALDO_SEALS_PUBLISH_DIR": "heads",
    "SALDO_SEALS_PUBLISH_SECONDS": "1",
}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """Return an operator with a key, and with a directory for heads."""
    operator = Operator(tmp_path)
    (tmp_path / "public-key").write_text(operator.run(CREATE_KEY))
    (tmp_path / "heads").mkdir()
    return operator


def read_heads(operator: Operator) -> list[SignedHead]:
    paths = sorted((operator.directory / "heads").glob("head-*"))
    return [parse_head(path.read_bytes()) for path in paths]


def deposit(running: ServiceProcess, user_id: int) -> None:
    body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
    assert httpx.post(f"{running.url}/v1/transaction", json=body).status_code == 200


def create_user(running: ServiceProcess) -> int:
    answer = httpx.post(f"{running.url}/v1/user", json={"name": str(uuid4())})
    return int(answer.json()["id"])


def wait_for_head(running: ServiceProcess, operator: Operator, number: int) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while len(read_heads(operator)) < number:
        assert time.monotonic() < deadline, running.output()
        time.sleep(0.1)


def test_heads_are_published_at_intervals_and_at_the_stop_and_are_verified_as_printed(
    operator: Operator,
) -> None:
    with run_service_process(operator.directory, **SETTINGS) as running:
        user_id = create_user(running)
        wait_for_head(running, operator, 2)
        metrics = httpx.get(f"{running.url}/metrics").text
        assert re.search(r"^saldo_heads_published_total [1-9]", metrics, re.MULTILINE)
        assert re.search(r"^saldo_heads_age_seconds \d+\.\d+$", metrics, re.MULTILINE)
        assert re.search(r"^saldo_heads_interval_seconds 1\.0$", metrics, re.MULTILINE)
        for _ in range(10):
            deposit(running, user_id)
    # The head at the stop covers everything.
    assert read_heads(operator)[-1].head.seals[user_id % 64].seq == 11
    heads = operator.directory / "heads"
    command = VERIFY.replace("saldo verify", "saldo verify --local")
    shown = operator.run(command)
    assert shown.splitlines()[-1].startswith("the ledger is intact: 11 entries verified in ")
    # After the next start the numbers continue.
    before = len(read_heads(operator))
    with run_service_process(operator.directory, **SETTINGS) as running:
        wait_for_head(running, operator, before + 1)
        operator.run(VERIFY)
    assert len({head.head.epoch for head in read_heads(operator)}) == 1
    for path in sorted(heads.iterdir())[1:3]:
        path.unlink()
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=operator.directory,
        env=operator.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(r"^heads: head-.*: gap: found no head 2 to 3 before it", done.stdout)


def test_restored_backup_continues_in_a_new_epoch(operator: Operator) -> None:
    def saldo(*arguments: str, code: int = 0) -> str:
        done: subprocess.CompletedProcess[str] = forks.run(
            arguments,
            cwd=operator.directory,
            env=operator.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout

    with run_service_process(operator.directory, **SETTINGS) as running:
        user_id = create_user(running)
        wait_for_head(running, operator, 1)
        saldo("backup", "backup")
        deposit(running, user_id)
    lost = read_heads(operator)
    saldo("restore", "backup", "--data-dir", "restored")
    with run_service_process(operator.directory, SALDO_DATA_DIR="restored", **SETTINGS) as running:
        wait_for_head(running, operator, len(lost) + 1)
    (epoch,) = {head.head.epoch for head in read_heads(operator)} - {lost[0].head.epoch}
    key = (operator.directory / "public-key").read_text().strip()
    operator.environment["SALDO_DATA_DIR"] = "restored"
    verify = ("verify", "--local", "--seals", "heads", "--key", key)
    assert "restore: found the epoch" in saldo(*verify, code=1)
    shown = saldo(*verify, "--restored", epoch)
    assert shown.splitlines()[-1].startswith("the ledger is intact: 1 entry verified in ")
    # The ledger from before the restore does not match.
    operator.environment["SALDO_DATA_DIR"] = "data"
    assert "the ledger is not intact" in saldo(*verify, code=1)


def test_killed_relay_leaves_no_gap_and_no_fork(operator: Operator) -> None:
    for number in range(1, 4):
        with run_service_process(operator.directory, **SETTINGS) as running:
            deposit(running, create_user(running))
            wait_for_head(running, operator, number)
            os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait(SECONDS_MAX)
    shown = operator.run(VERIFY.replace("saldo verify", "saldo verify --local"))
    assert "the ledger is intact" in shown


def test_unusable_key_ends_the_start_with_one_line(operator: Operator) -> None:
    (operator.directory / "seals.pem").chmod(0o644)
    for command in ("serve", "relay"):
        done: subprocess.CompletedProcess[str] = forks.run(
            [command],
            cwd=operator.directory,
            env=operator.environment | SETTINGS,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert "the key file seals.pem has the mode 0644" in line
    assert not (operator.directory / "data").exists()


def test_command_gets_the_heads(operator: Operator, tmp_path: Path) -> None:
    """Publish by the shipped script, with a program in place of the one of the object store."""
    aws = tmp_path / "programs" / "aws"
    aws.write_text(
        """#!/bin/sh
set -eu
case "$1 $2" in
"s3api put-object")
    test "$*" = "s3api put-object --bucket bucket --key $6 --body $8 --if-none-match *"
    ln "$8" "$OBJECTS/$6" || exit 254 ;;
"s3 cp")
    cat "$OBJECTS/${3#s3://bucket/}" ;;
esac
"""
    )
    aws.chmod(0o755)
    script = ROOT / "deploy/object-store/publish-head"
    settings = {
        "SALDO_SEALS_KEY_FILE": "seals.pem",
        "SALDO_SEALS_PUBLISH_SECONDS": "1",
        "SALDO_SEALS_PUBLISH_COMMAND": f"{script} bucket {{name}}",
        "OBJECTS": str(tmp_path / "heads"),
        # The files must be on one file system, because the program links them.
        "TMPDIR": str(tmp_path),
        "PATH": operator.environment["PATH"],
    }
    with run_service_process(operator.directory, **settings) as running:
        wait_for_head(running, operator, 2)
    heads = read_heads(operator)
    shown = operator.run(VERIFY.replace("saldo verify", "saldo verify --local"))
    assert "the ledger is intact" in shown
    # The same head again is no failure, and another one is.
    environment = operator.environment | settings
    for document, code in ((heads[0].document, 0), (b"another", 1)):
        done = subprocess.run(
            [script, "bucket", heads[0].file_name],
            input=document,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert (done.returncode != 0) is bool(code), done.stderr
    assert read_heads(operator) == heads


def test_public_key_is_printed_again_and_as_json(operator: Operator) -> None:
    key = (operator.directory / "public-key").read_text().strip()
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert operator.run("saldo seals key --file seals.pem") == f"{key}\n"
    operator.environment |= SETTINGS
    assert json.loads(operator.run("saldo seals key --json")) == {"key": key, "file": "seals.pem"}
    for command, message in (
        (CREATE_KEY, "can't create the key file seals.pem: File exists"),
        ("saldo seals key --file gone.pem", "can't read the key file gone.pem"),
    ):
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=operator.directory,
            env=operator.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert message in done.stderr
