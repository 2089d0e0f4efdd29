"""JSON files of `saldo verify`: its state file, and seals that were kept elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from saldo.cli.private_files import write_atomically
from saldo.ledger.audit.rules import AuditPosition, ShardCounts
from saldo.ledger.audit.seal_chain import SealRow
from saldo.ledger.model import SHARDS
from saldo.store.audit.verification import Checkpoint
from saldo.store.errors import ConfigurationError

FORMAT_VERSION = 1
"""Format version of the state file. A file with another version is rejected."""

BYTES_MAX = 64 * 1024 * 1024
"""Maximum size of a file that is read, in bytes. Some 300,000 seals fit into it."""


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return the position at which an earlier run stopped; None if there is no file.

    Raises:
        ConfigurationError: The file is not a state file of this version.
    """
    if not path.exists():
        return None
    try:
        document = _read_json(path)
        _check_version(document.pop("format"))
        fields = document.pop("position")
        fields["sealed_hash"] = bytes.fromhex(fields["sealed_hash"])
        fields["counts"] = ShardCounts(**fields["counts"])
        checkpoint = Checkpoint(position=AuditPosition(**fields), **document)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(
            f"--state {path}: the file is not a state file of this version of saldo verify"
        ) from None
    return checkpoint


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the state file atomically.

    Raises:
        ConfigurationError: The file can't be written.
    """
    position = checkpoint.position
    text = json.dumps(
        {
            "format": FORMAT_VERSION,
            **checkpoint._asdict(),
            "position": {
                **position._asdict(),
                "sealed_hash": position.sealed_hash.hex(),
                "counts": position.counts._asdict(),
            },
        }
    )
    try:
        with write_atomically(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise ConfigurationError(f"can't write --state {path}: {error.strerror}") from None


def read_saved_seals(path: Path) -> list[SealRow]:
    """Return the seals that were kept elsewhere.

    The file contains a list of objects with shard, first_seq, last_seq and hash (hexadecimal), or an object with this
    list as `items`.

    Raises:
        ConfigurationError: The file does not contain such a list.
    """
    try:
        found = _read_json(path)
        return [
            _parse_seal(each) for each in (found["items"] if isinstance(found, dict) else found)
        ]
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"--heads {path}: expected a list of seals, which are objects with shard, first_seq, last_seq and hash"
        ) from None


def _check_version(version: object) -> None:
    if version != FORMAT_VERSION:
        raise ValueError(version)


def _parse_seal(item: Any) -> SealRow:
    shard, first, last = (int(item[name]) for name in ("shard", "first_seq", "last_seq"))
    if not 0 <= shard < SHARDS or not 0 < first <= last < 2**63:
        raise ValueError
    return SealRow(shard, first, last, b"", bytes.fromhex(item["hash"]))


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > BYTES_MAX:
            raise ConfigurationError(f"{path} is larger than the limit of {BYTES_MAX:,} bytes")
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from None
