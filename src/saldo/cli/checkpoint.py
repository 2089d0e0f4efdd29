"""The files of `saldo verify`: where it goes on, and seals that were kept elsewhere. JSON, both."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from saldo.ledger.audit import Counts, Position
from saldo.ledger.chain import Seal
from saldo.ledger.model import SHARDS
from saldo.store.errors import SetUpError
from saldo.store.verify import Checkpoint

FORMAT = 1
"""Of the state; another version's is refused."""

BYTES_MAX = 64 * 1024 * 1024
"""Of a file that is read: some 300,000 seals."""


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Where an earlier walk has stopped; None: there is no file.

    Raises:
        SetUpError: it is none of ours.
    """
    if not path.exists():
        return None
    try:
        found = _read(path)
        _expect(found.pop("format"))
        fields = found.pop("position")
        fields["sealed_hash"] = bytes.fromhex(fields["sealed_hash"])
        fields["counts"] = Counts(**fields["counts"])
        checkpoint = Checkpoint(position=Position(**fields), **found)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SetUpError(f"{path} is no state of this version's saldo verify") from None
    return checkpoint


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file whole or not at all.

    Raises:
        SetUpError: it can't be written.
    """
    position = checkpoint.position
    text = json.dumps(
        {
            "format": FORMAT,
            **checkpoint._asdict(),
            "position": {
                **position._asdict(),
                "sealed_hash": position.sealed_hash.hex(),
                "counts": position.counts._asdict(),
            },
        }
    )
    beside = path.with_name(f"{path.name}.new")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise SetUpError(f"state {path}: {error.strerror}") from None


def read_heads(path: Path) -> list[Seal]:
    """Seals that were kept elsewhere.

    They are a list of objects with shard, first_seq, last_seq and hash (hexadecimal), or an object with it as `items`.

    Raises:
        SetUpError: it is not such a file.
    """
    try:
        found = _read(path)
        return [_kept(each) for each in (found["items"] if isinstance(found, dict) else found)]
    except (ValueError, KeyError, TypeError):
        raise SetUpError(
            f"{path} holds no seals: expected a list of objects with shard, first_seq, last_seq, hash"
        ) from None


def _expect(written: object) -> None:
    if written != FORMAT:
        raise ValueError(written)


def _kept(item: Any) -> Seal:
    shard, first, last = (int(item[name]) for name in ("shard", "first_seq", "last_seq"))
    if not 0 <= shard < SHARDS or not 0 < first <= last < 2**63:
        raise ValueError
    return Seal(shard, first, last, b"", bytes.fromhex(item["hash"]))


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > BYTES_MAX:
            raise SetUpError(f"{path} has more than {BYTES_MAX:,} bytes")
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SetUpError(f"{path}: {error.strerror}") from None
