"""The account that runs the server. It is the account of the service, or a separate system account if the service runs
as root."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from saldo.store.errors import ConfigurationError

ACCOUNT = "saldo"
"""Name of the account that runs the server if the service runs as root, because PostgreSQL refuses to run as root."""


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """The operating system's account for the server's processes and files."""

    user_id: int
    group_id: int

    @classmethod
    def for_server(cls) -> ServerAccount:
        """Return the service's own account; if it is root, the system account. The system account is created if it does
        not exist.

        Raises:
            ConfigurationError: The system account can't be created.
        """
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        entry = _get_system_account()
        return cls(entry.pw_uid, entry.pw_gid)

    @property
    def is_ours(self) -> bool:
        """True if the account is that of this process, so that no change of account is needed."""
        return self.user_id == os.geteuid()

    def chown(self, path: Path) -> None:
        """Make the account the owner of a file or directory that this process created."""
        if not self.is_ours:
            os.chown(path, self.user_id, self.group_id)

    def list_peer_names(self) -> list[str]:
        """Return the names of the accounts that may connect to the server by peer authentication."""
        return sorted({_get_account_name(os.geteuid()), _get_account_name(self.user_id), "root"})

    def build_command_prefix(self, needed_paths: Iterable[Path]) -> Sequence[str]:
        """Return the command prefix that runs a program as the account, with access to the given directories.

        Raises:
            ConfigurationError: The program `setpriv` is not installed.
        """
        if self.is_ours:
            return ()
        if shutil.which("setpriv") is None:
            raise ConfigurationError(
                "PostgreSQL refuses to run as root, and `setpriv` (util-linux) is not installed: "
                "install it, run Saldo as another user, or set SALDO_DATABASE_URL"
            )
        prefix = ["setpriv", f"--reuid={self.user_id}", f"--regid={self.group_id}"]
        prefix.append("--clear-groups")
        if self.find_first_inaccessible(needed_paths) is not None:
            # The parent directories remain accessible to root only. The capability lets the server traverse and read
            # them, but not write. The securebit is needed because access(2) would ignore the capability of a user other
            # than root.
            prefix += [
                "--inh-caps=-all,+dac_read_search",
                "--ambient-caps=-all,+dac_read_search",
                "--securebits=+no_setuid_fixup",
            ]
        return prefix

    def find_first_inaccessible(self, needed_paths: Iterable[Path]) -> Path | None:
        """Return the first directory that the account can't reach without a capability; None if there is no such
        directory."""
        if self.is_ours:
            return None
        return next((path for path in needed_paths if not _is_accessible_to_all(path)), None)


def _get_system_account() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    with suppress(FileNotFoundError):
        # The result is not checked, because another process may be creating the account at the same time.
        subprocess.run(command, check=False, capture_output=True)  # noqa: S603
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise ConfigurationError(
            f"PostgreSQL refuses to run as root, and the account {ACCOUNT!r} can't be created: "
            "create it, run Saldo as another user, or set SALDO_DATABASE_URL"
        ) from None


def _get_account_name(user_id: int) -> str:
    """Return the name of a user id. The variable LOGNAME is not used, because it may contain anything.

    Raises:
        ConfigurationError: The user id has no name.
    """
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        raise ConfigurationError(
            f"user id {user_id} has no name in /etc/passwd, but PostgreSQL requires one: "
            "add a name, or set SALDO_DATABASE_URL"
        ) from None


def _is_accessible_to_all(path: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))
