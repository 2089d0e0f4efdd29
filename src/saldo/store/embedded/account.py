"""Who runs the server: we ourselves; or, when we are root, a system account of its own."""

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

from saldo.store.errors import SetUpError

ACCOUNT = "saldo"
"""The system account that runs the server when we are root: PostgreSQL refuses to run as root."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account of the server's processes and files."""

    user_id: int
    group_id: int

    @classmethod
    def of_server(cls) -> Account:
        """Ours, or, when we are root, the system account; created if it is not there yet.

        Raises:
            SetUpError: it can't be created.
        """
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        entry = _system_account()
        return cls(entry.pw_uid, entry.pw_gid)

    @property
    def is_ours(self) -> bool:
        """Whether no change of account is needed."""
        return self.user_id == os.geteuid()

    def give(self, path: Path) -> None:
        """Makes the account the owner of what we have made."""
        if not self.is_ours:
            os.chown(path, self.user_id, self.group_id)

    def may_log_in_as(self) -> list[str]:
        """Names the kernel's peer check will see, of those who may connect: server, us, root."""
        return sorted({_name_of(os.geteuid()), _name_of(self.user_id), "root"})

    def prefix(self, reached: Iterable[Path]) -> Sequence[str]:
        """What makes a command run as the account, able to reach these directories."""
        if self.is_ours:
            return ()
        if shutil.which("setpriv") is None:
            raise SetUpError(
                "PostgreSQL refuses to run as root, and `setpriv` (util-linux) is not installed: "
                "install it, run as another user, or set SALDO_DATABASE_URL"
            )
        prefix = ["setpriv", f"--reuid={self.user_id}", f"--regid={self.group_id}"]
        prefix.append("--clear-groups")
        if not all(_open_to_all(path) for path in reached):
            # The directories above are root's alone, and stay so: the server may pass, not write.
            # (The secure bit: access(2) would forget the capability of a user other than root.)
            prefix += [
                "--inh-caps=-all,+dac_read_search",
                "--ambient-caps=-all,+dac_read_search",
                "--securebits=+no_setuid_fixup",
            ]
        return prefix


def _system_account() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    with suppress(FileNotFoundError):
        # Not checked: another process may be creating it at this moment.
        subprocess.run(command, check=False, capture_output=True)  # noqa: S603
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise SetUpError(
            f"PostgreSQL refuses to run as root, and the account {ACCOUNT!r} can't be created: "
            "create it, run as another user, or set SALDO_DATABASE_URL"
        ) from None


def _name_of(user_id: int) -> str:
    """LOGNAME may say anything; the kernel goes by the number."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        raise SetUpError(
            f"user id {user_id} has no name (no line in /etc/passwd), and PostgreSQL needs one: "
            "give it one, or set SALDO_DATABASE_URL"
        ) from None


def _open_to_all(path: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))
