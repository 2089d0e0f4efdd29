"""Checks a proof of Saldo without Saldo: that an entry is part of what was sealed, and of what was kept.

    python proof.py proof.json
    python proof.py proof.json --seals kept.json --chain chain.json

`proof.json` is the answer to GET /v1/proof/{uuid}. `--seals` names answers to GET /v1/seals that you kept
where the service can't change them; `--chain`, answers to GET /v1/seals?shard=…&after=…, which lead from
the proof's seal to the kept one. `-` is the standard input. Exit code 0: proven; 1: not.

One file, the standard library alone: copy it. It says by itself what is hashed, so that it doesn't share a mistake
with the service:

    leaf = SHA-256(0x00, entry)     node = SHA-256(0x01, left, right)      (RFC 6962, section 2.1)
    seal = SHA-256(0x02, previous, shard as int16, first_seq and last_seq as int64, root)
    entry = 12 as int16, then of each column its length in bytes as int32 and its value

All big-endian. Columns: seq, user_id, number, amount, balance, timestamp, horizon, recorded_at (int64; times in
microseconds since 2000-01-01 UTC, none: the least int64), uuid (16 bytes), shard, kind, outcome (int16).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

VERSION = 1

INT16, INT64 = 2**15, 2**63

KINDS = {"OPENING": 0, "DEPOSIT": 1, "WITHDRAW": 2}
OUTCOMES = {"posted": 0, "insufficient_funds": 1, "balance_above_maximum": 2}

_HASH = re.compile("[0-9a-f]{64}", re.ASCII)
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", re.ASCII)
_EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - runs on older Pythons, too


class NotProvenError(Exception):
    """The message is one line that says why not."""


class Seal(NamedTuple):
    """A seal whose hash is right. Hashes are 32 bytes."""

    shard: int
    first_seq: int
    last_seq: int
    previous: bytes
    hash: bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line; the exit code."""
    parser = argparse.ArgumentParser(description="Checks a proof of Saldo without Saldo.")
    parser.add_argument("proof", help="the answer to GET /v1/proof/{uuid}; -: standard input")
    parser.add_argument(
        "--seals",
        nargs="+",
        default=[],
        metavar="FILE",
        help="answers to GET /v1/seals that you kept",
    )
    parser.add_argument(
        "--chain",
        nargs="+",
        default=[],
        metavar="FILE",
        help="answers to GET /v1/seals?shard=…&after=…: from the proof's seal to the kept one",
    )
    given = parser.parse_args(arguments)
    try:
        line = check(
            _read(given.proof),
            kept=[_read(name) for name in given.seals],
            chain=[_read(name) for name in given.chain],
        )
    except NotProvenError as error:
        print(f"NOT PROVEN: {error}")  # noqa: T201 - it is a program
        return 1
    print(f"proven: {line}")  # noqa: T201
    return 0


def check(proof: Any, *, kept: Sequence[Any] = (), chain: Sequence[Any] = ()) -> str:
    """What is proven, in one line.

    Args:
        proof, kept, chain: answers of the service, as `json.loads` gives them.

    Raises:
        NotProvenError: why not.
    """
    version = _integer(proof, "version", INT16)
    if version != VERSION:
        raise NotProvenError(f"the proof is of version {version}; this program knows {VERSION}")
    entry = _get(proof, "entry")
    seal = _sealed(_get(proof, "seal"))
    seq, shard = _integer(entry, "seq", INT64), _integer(entry, "shard", INT16)
    if shard != seal.shard or not seal.first_seq <= seq <= seal.last_seq:
        raise NotProvenError("the seal is not one of the entry's")
    leaf_index, path = _integer(proof, "leaf_index", INT64), _get(proof, "path")
    if leaf_index != seq - seal.first_seq:
        raise NotProvenError("leaf_index is not the entry's place in the seal")
    if not isinstance(path, list):
        raise NotProvenError("path is not a list")
    leaf = sha256(b"\x00" + encode(entry)).digest()
    size = seal.last_seq - seal.first_seq + 1
    root = climb(leaf, leaf_index, size, [_hash(each, "path") for each in path])
    if root != _hash(_get(_get(proof, "seal"), "root"), "root"):
        raise NotProvenError("the entry does not lead to the root of the seal")
    line = (
        f"{_get(entry, 'uuid')}, {_get(entry, 'kind')} of {_get(entry, 'amount')} for user {_get(entry, 'user_id')}, "
        f"{_get(entry, 'outcome')}, balance {_get(entry, 'balance')} (minor units), is entry {seq} of shard {shard}"
    )
    if not kept:
        return f"{line}, in the seal {seal.hash.hex()}; whether that is the ledger's, a seal you kept tells"
    held = lead(seal, kept, chain)
    return f"{line}, and part of what the seal you kept covers, {held.hash.hex()}"


def encode(entry: Any) -> bytes:
    """The bytes of an entry that are hashed."""
    columns = [
        *(
            _integer(entry, name, INT64).to_bytes(8, "big", signed=True)
            for name in ("seq", "user_id", "number", "amount", "balance")
        ),
        *(_instant(entry, name) for name in ("timestamp", "horizon", "recorded_at")),
        _uuid(entry),
        _integer(entry, "shard", INT16).to_bytes(2, "big", signed=True),
        _number_of(entry, "kind", KINDS).to_bytes(2, "big"),
        _number_of(entry, "outcome", OUTCOMES).to_bytes(2, "big"),
    ]
    written = len(columns).to_bytes(2, "big")
    for column in columns:
        written += len(column).to_bytes(4, "big") + column
    return written


def climb(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root of the tree that a leaf and its path lead to (RFC 9162, section 2.1.3.2).

    Raises:
        NotProvenError: no tree of this size has such a path.
    """
    node, position, last = leaf, index, size - 1
    for sibling in path:
        if last == 0:
            raise NotProvenError("the path is too long")
        if position % 2 == 1 or position == last:
            node = sha256(b"\x01" + sibling + node).digest()
            while position % 2 == 0 and position != 0:
                position, last = position // 2, last // 2
        else:
            node = sha256(b"\x01" + node + sibling).digest()
        position, last = position // 2, last // 2
    if last != 0:
        raise NotProvenError("the path is too short")
    return node


def lead(seal: Seal, kept: Sequence[Any], chain: Sequence[Any]) -> Seal:
    """Follows the seals from one to the next that was kept; the kept one.

    Raises:
        NotProvenError: they don't lead there.
    """
    all_kept = [each for answer in kept for each in _seals(answer) if each.shard == seal.shard]
    later = [each for each in all_kept if each.last_seq >= seal.last_seq]
    if not later:
        raise NotProvenError(
            f"no seal of shard {seal.shard} was kept since the entry was sealed: keep the newest ones now, "
            "and compare them next time"
        )
    target = min(later, key=lambda each: each.last_seq)
    links = {each.previous: each for answer in chain for each in _seals(answer)}
    while seal.last_seq < target.last_seq:
        following = links.get(seal.hash)
        if following is None or (following.shard, following.first_seq) != (
            seal.shard,
            seal.last_seq + 1,
        ):
            raise NotProvenError(
                f"--chain lacks the seal after {seal.last_seq}: GET /v1/seals?shard={seal.shard}&after={seal.last_seq}"
            )
        seal = following
    if seal.hash != target.hash:
        raise NotProvenError(
            f"the seal that was kept is another one: shard {seal.shard} was changed at or before "
            f"entry {target.last_seq}"
        )
    return target


def _seals(answer: Any) -> list[Seal]:
    items = _get(answer, "items")
    if not isinstance(items, list):
        raise NotProvenError("items is not a list of seals")
    return [_sealed(item) for item in items]


def _sealed(given: Any) -> Seal:
    shard = _integer(given, "shard", INT16)
    first_seq, last_seq = _integer(given, "first_seq", INT64), _integer(given, "last_seq", INT64)
    previous, root, hash_ = (
        _hash(_get(given, name), name) for name in ("previous", "root", "hash")
    )
    if not 0 < first_seq <= last_seq or (first_seq == 1) is not (previous == bytes(32)):
        raise NotProvenError("the seal's positions can't be")
    positions = (
        shard.to_bytes(2, "big", signed=True)
        + first_seq.to_bytes(8, "big")
        + last_seq.to_bytes(8, "big")
    )
    if sha256(b"\x02" + previous + positions + root).digest() != hash_:
        raise NotProvenError(f"the hash of the seal of entries {first_seq} to {last_seq} is wrong")
    return Seal(shard, first_seq, last_seq, previous, hash_)


def _read(name: str) -> Any:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise NotProvenError(f"{name} can't be read: {error}") from None


def _get(given: Any, name: str) -> Any:
    if not isinstance(given, dict) or name not in given:
        raise NotProvenError(f"{name} is missing: is this an answer of Saldo?")
    return given[name]


def _integer(given: Any, name: str, bound: int) -> int:
    value = _get(given, name)
    if type(value) is not int or not -bound <= value < bound:
        raise NotProvenError(f"{name} is not a whole number that fits")
    return value


def _number_of(given: Any, name: str, numbers: dict[str, int]) -> int:
    value = _get(given, name)
    if not isinstance(value, str) or value not in numbers:
        raise NotProvenError(f"{name} is not one of {', '.join(numbers)}")
    return numbers[value]


def _instant(given: Any, name: str) -> bytes:
    """Eight bytes. Only the form that the service writes: there is one for each instant."""
    value = _get(given, name)
    if value is None:
        return (-INT64).to_bytes(8, "big", signed=True)
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise NotProvenError(f"{name} is not an instant such as 2023-10-30T00:00:00.000000+00:00")
    try:
        since = datetime.fromisoformat(value) - _EPOCH
    except ValueError as error:
        raise NotProvenError(f"{name}: {error}") from None
    return (since // timedelta(microseconds=1)).to_bytes(8, "big", signed=True)


def _uuid(given: Any) -> bytes:
    value = _get(given, "uuid")
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise NotProvenError("uuid is not one in lower-case hexadecimal")
    return bytes.fromhex(value.replace("-", ""))


def _hash(value: Any, name: str) -> bytes:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise NotProvenError(f"{name} is not a hash in lower-case hexadecimal")
    return bytes.fromhex(value)


if __name__ == "__main__":
    sys.exit(main())
