"""The WAL archive: every change of the database, kept in a directory of the operator's."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from saldo.store.embedded.account import ACCOUNT, Account
from saldo.store.errors import SetUpError

ARCHIVE_SECONDS_MAX = 60
"""A segment is archived when it is full, and after this at the latest: what the loss of the data
directory may cost. A nearly empty one is small when it is compressed."""

SCRIPT_NAME = "archive.sh"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a restored cluster reads before it serves.

    Attributes:
        archive_dir: None: only what the backup itself holds.
        until: stop before what was committed later; None: to the end.
    """

    archive_dir: Path | None
    until: datetime | None


def open_archive(directory: Path, account: Account) -> None:
    """Makes the directory if need be, and sees whether the server may write there.

    Raises:
        SetUpError: it may not.
    """
    if not directory.exists():
        directory.mkdir(parents=True, mode=0o700)
        account.give(directory)
    if account.is_ours:
        writable = os.access(directory, os.W_OK | os.X_OK)
    else:
        writable = directory.stat().st_uid == account.user_id
    if not directory.is_dir() or not writable:
        owner = "us" if account.is_ours else f"the account {ACCOUNT}"
        raise SetUpError(
            f"SALDO_WAL_ARCHIVE_DIR={directory} must be a directory that belongs to {owner}"
        )


def write_script(cluster: Path, account: Account) -> None:
    """Puts the archiving script where the server can reach it whatever it may reach of us."""
    path = cluster / SCRIPT_NAME
    path.write_bytes((files("saldo.store.embedded") / SCRIPT_NAME).read_bytes())
    path.chmod(0o600)
    account.give(path)


def archiving(directory: Path) -> str:
    """Lines of the server's configuration that archive into the directory."""
    # Run in the cluster's own directory.
    command = f'sh {SCRIPT_NAME} "%p" {_in_command(directory)}/"%f"'
    return (
        "archive_mode = on\n"
        f"archive_command = {_quoted(command)}\n"
        f"archive_timeout = {ARCHIVE_SECONDS_MAX}s\n"
    )


def recovering(recovery: Recovery) -> str:
    """Lines of the server's configuration for a recovery that ends in a timeline of its own."""
    command = "false"
    if recovery.archive_dir is not None:
        command = f'gunzip -c {_in_command(recovery.archive_dir)}/"%f.gz" > "%p"'
    lines = [
        f"restore_command = {_quoted(command)}",
        "recovery_target_action = promote",
        # Ready means recovered: nobody is to read what is still changing.
        "hot_standby = off",
    ]
    if recovery.until is not None:
        lines.append(f"recovery_target_time = {_quoted(recovery.until.isoformat())}")
    return "".join(f"{line}\n" for line in lines)


def _in_command(directory: Path) -> str:
    """For the shell; a percent sign is PostgreSQL's."""
    return shlex.quote(str(directory)).replace("%", "%%")


def _quoted(value: str) -> str:
    """A value of postgresql.conf."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
