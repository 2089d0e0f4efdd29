"""Verification of a backup, which compares every file with the manifest that `pg_basebackup` wrote.

`pg_verifybackup` does the same, but the program of the wheel crashes at its start (docs/decisions/0017-backup.md).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from saldo.store.embedded.binaries import Programs
from saldo.store.errors import ConfigurationError, DamagedDataError

MANIFEST_NAME = "backup_manifest"
CHECKSUMS = "SHA256"
"""The checksum algorithm with which `pg_basebackup` is run. `verify_backup` accepts no other."""

WAL_DIRECTORY = "pg_wal"
"""The directory of WAL files. WAL files are not in the manifest, because their records have checksums of their own."""


def verify_backup(backup: Path, programs: Programs) -> None:
    """Check every file, and every WAL record that the backup needs.

    Raises:
        ConfigurationError: A file is altered, missing or unknown. The message is one line and names the first such
            file.
    """
    manifest = _read_manifest(backup)
    listed: set[str] = {MANIFEST_NAME}
    for file in manifest["Files"]:
        name = file.get("Path") or bytes.fromhex(file["Encoded-Path"]).decode(
            errors="surrogateescape"
        )
        listed.add(name)
        _check_file(backup / name, file)
    for path in backup.rglob("*"):
        name = str(path.relative_to(backup))
        if path.is_file() and name not in listed and not name.startswith(f"{WAL_DIRECTORY}/"):
            raise DamagedDataError(f"{path} does not belong to this backup")
    for wal in manifest["WAL-Ranges"]:
        programs.run(
            "pg_waldump",
            "--quiet",
            f"--path={backup / WAL_DIRECTORY}",
            f"--timeline={wal['Timeline']}",
            f"--start={wal['Start-LSN']}",
            f"--end={wal['End-LSN']}",
        )


def _read_manifest(backup: Path) -> Any:
    path = backup / MANIFEST_NAME
    content = path.read_bytes()
    # The last line is the checksum of all preceding lines.
    end = content.rfind(b"\n", 0, len(content) - 1) + 1
    try:
        manifest = json.loads(content)
        intact = hashlib.sha256(content[:end]).hexdigest() == manifest["Manifest-Checksum"]
    except (ValueError, KeyError):
        intact = False
    if not intact:
        raise DamagedDataError(f"{path} was changed after the backup")
    return manifest


def _check_file(path: Path, file: Any) -> None:
    if file.get("Checksum-Algorithm") != CHECKSUMS:
        raise ConfigurationError(
            f"{path.name} has no {CHECKSUMS}: the backup was not created by saldo backup"
        )
    try:
        if path.stat().st_size == file["Size"]:
            with path.open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() == file["Checksum"]:
                    return
    except FileNotFoundError:
        raise DamagedDataError(f"{path} is missing") from None
    raise DamagedDataError(f"{path} was changed after the backup")
