"""The WAL archive, which keeps every change of the database in a directory that the operator provides."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from saldo.store.embedded.system_account import ACCOUNT, ServerAccount
from saldo.store.errors import ConfigurationError

ARCHIVE_SECONDS_MAX = 60
"""Maximum time until a WAL segment that is not full is archived.

If the data directory is lost, the changes of this time may be lost. The time can be short, because a nearly empty
segment is small when compressed.
"""

SCRIPT_NAME = "archive.sh"


@dataclass(frozen=True, slots=True)
class Recovery:
    """The recovery of a restored cluster.

    Attributes:
        archive_dir: The WAL archive to replay; None replays only the WAL of the backup itself.
        until: The commit time after which transactions are not replayed; None replays all.
    """

    archive_dir: Path | None
    until: datetime | None


def open_archive(directory: Path, account: ServerAccount) -> None:
    """Create the directory if it does not exist, and check that the server may write to it.

    Raises:
        ConfigurationError: The server may not write to the directory.
    """
    if not directory.exists():
        directory.mkdir(parents=True, mode=0o700)
        account.chown(directory)
    if account.is_ours:
        writable = os.access(directory, os.W_OK | os.X_OK)
    else:
        writable = directory.stat().st_uid == account.user_id
    if not directory.is_dir() or not writable:
        owner = "us" if account.is_ours else f"the account {ACCOUNT}"
        raise ConfigurationError(
            f"SALDO_WAL_ARCHIVE_DIR={directory} must be a directory that {owner} owns"
        )


def write_archive_script(cluster: Path, account: ServerAccount) -> None:
    """Copy the archiving script into the cluster, because the server may be unable to read Saldo's installation."""
    path = cluster / SCRIPT_NAME
    path.write_bytes((files("saldo.store.embedded") / SCRIPT_NAME).read_bytes())
    path.chmod(0o600)
    account.chown(path)


def format_archive_configuration(directory: Path) -> str:
    """Return the configuration lines for archiving into a directory."""
    # PostgreSQL runs the command in the cluster's directory.
    command = f'sh {SCRIPT_NAME} "%p" {_quote_for_command(directory)}/"%f"'
    return (
        "archive_mode = on\n"
        f"archive_command = {_quote_setting(command)}\n"
        f"archive_timeout = {ARCHIVE_SECONDS_MAX}s\n"
    )


def format_recovery_configuration(recovery: Recovery) -> str:
    """Return the configuration lines for a recovery. The recovered database is on a new timeline."""
    command = "false"
    if recovery.archive_dir is not None:
        command = f'gunzip -c {_quote_for_command(recovery.archive_dir)}/"%f.gz" > "%p"'
    lines = [
        f"restore_command = {_quote_setting(command)}",
        "recovery_target_action = promote",
        # The server must not accept connections before the recovery is complete.
        "hot_standby = off",
    ]
    if recovery.until is not None:
        lines.append(f"recovery_target_time = {_quote_setting(recovery.until.isoformat())}")
    return "".join(f"{line}\n" for line in lines)


def _quote_for_command(directory: Path) -> str:
    """Quote a path for the shell, and escape percent signs, which PostgreSQL would replace."""
    return shlex.quote(str(directory)).replace("%", "%%")


def _quote_setting(value: str) -> str:
    """Quote a value for postgresql.conf."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
