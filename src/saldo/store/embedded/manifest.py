"""Whether a backup is as it was made: every file held against the manifest that `pg_basebackup` wrote.

`pg_verifybackup` does the same; the one of the wheel crashes before it begins
(docs/decisions/0017-backup.md).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from saldo.store.embedded.programs import Programs
from saldo.store.errors import SetUpError

MANIFEST_NAME = "backup_manifest"
CHECKSUMS = "SHA256"
"""What `pg_basebackup` is asked for, and all that is read here."""

WAL_DIRECTORY = "pg_wal"
"""Not in the manifest: its records have checksums of their own."""


def verify(backup: Path, programs: Programs) -> None:
    """Reads every file, and every record of the WAL that the backup needs.

    Raises:
        SetUpError: one line that names the first file that is not as it was.
    """
    manifest = _read(backup)
    listed: set[str] = {MANIFEST_NAME}
    for file in manifest["Files"]:
        name = file.get("Path") or bytes.fromhex(file["Encoded-Path"]).decode(
            errors="surrogateescape"
        )
        listed.add(name)
        _check(backup / name, file)
    for path in backup.rglob("*"):
        name = str(path.relative_to(backup))
        if path.is_file() and name not in listed and not name.startswith(f"{WAL_DIRECTORY}/"):
            raise SetUpError(f"{path} is not of this backup")
    for wal in manifest["WAL-Ranges"]:
        programs.run(
            "pg_waldump",
            "--quiet",
            f"--path={backup / WAL_DIRECTORY}",
            f"--timeline={wal['Timeline']}",
            f"--start={wal['Start-LSN']}",
            f"--end={wal['End-LSN']}",
        )


def _read(backup: Path) -> Any:
    path = backup / MANIFEST_NAME
    content = path.read_bytes()
    # The last line is the checksum of all lines before.
    end = content.rfind(b"\n", 0, len(content) - 1) + 1
    try:
        manifest = json.loads(content)
        intact = hashlib.sha256(content[:end]).hexdigest() == manifest["Manifest-Checksum"]
    except (ValueError, KeyError):
        intact = False
    if not intact:
        raise SetUpError(f"{path} was altered")
    return manifest


def _check(path: Path, file: Any) -> None:
    if file.get("Checksum-Algorithm") != CHECKSUMS:
        raise SetUpError(f"{path.name} has no {CHECKSUMS}: the backup was not made by saldo backup")
    try:
        if path.stat().st_size == file["Size"]:
            with path.open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() == file["Checksum"]:
                    return
    except FileNotFoundError:
        raise SetUpError(f"{path} is missing") from None
    raise SetUpError(f"{path} was altered")
