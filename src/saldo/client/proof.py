"""A verifier of Saldo's proofs that needs nothing else of Saldo.

It checks that an entry is part of a seal, and that this seal leads to a seal that was kept.

    python proof.py proof.json --seals kept.json --chain chain.json
    python proof.py proof.json --self-consistent

`proof.json` is the response to GET /v1/proof/{uuid}. `--seals` names responses to GET /v1/seals that you kept where the
service can't change them. `--chain` names responses to GET /v1/seals?shard=…&after=…, which lead from the proof's seal
to the kept one. `-` is the standard input.

Exit codes:

0   the proof leads to a seal that was kept, or is consistent in itself and --self-consistent was given
1   the proof is wrong
2   the proof is consistent in itself, but no saved seal was given, so it may be forged
64  the arguments can't be read

The program is one file that uses only the standard library, so that it can be copied. It defines by itself what is
hashed, so that it does not share a mistake with the service:

    leaf = SHA-256(0x00, entry)     node = SHA-256(0x01, left, right)      (RFC 6962, section 2.1)
    seal = SHA-256(0x02, previous, shard as int16, first_seq and last_seq as int64, root)
    entry = 12 as int16, then of each column its length in bytes as int32 and its value

All numbers are big-endian. The columns are seq, user_id, number, amount, balance, timestamp, horizon, recorded_at
(int64), uuid (16 bytes), shard, kind and outcome (int16). Times are in microseconds since 2000-01-01 UTC; a missing
time is the least int64.
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
from typing import Any, NamedTuple, NoReturn

VERSION = 1

WRONG, NOT_ANCHORED, USAGE = 1, 2, 64
"""Exit codes."""

INT16, INT64 = 2**15, 2**63

KINDS = {"OPENING": 0, "DEPOSIT": 1, "WITHDRAW": 2}
OUTCOMES = {"posted": 0, "insufficient_funds": 1, "balance_above_maximum": 2}

_HASH = re.compile("[0-9a-f]{64}", re.ASCII)
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", re.ASCII)
_EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - runs on older Pythons, too


class InvalidProofError(Exception):
    """The proof is wrong or leads to no kept seal. The message is one line with the reason."""


class CheckedSeal(NamedTuple):
    """A seal whose hash has been checked. Hashes are 32 bytes."""

    shard: int
    first_seq: int
    last_seq: int
    previous: bytes
    hash: bytes


class VerifiedProof(NamedTuple):
    """A proof that is correct.

    Attributes:
        line: A summary of the proof, in one line.
        anchored: Whether the proof leads to a kept seal. If it does not, anybody may have made it up.
    """

    line: str
    anchored: bool


class ProofArgumentParser(argparse.ArgumentParser):
    """Exits with code 64 if the arguments are wrong. The code of argparse would be 2, which means that a proof is not
    anchored."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the proof that the arguments name, print one line, and return the exit code."""
    options = _create_parser().parse_args(arguments)
    try:
        checked = verify_proof(
            _read_json(options.proof),
            kept=[_read_json(name) for name in options.seals],
            chain=[_read_json(name) for name in options.chain],
        )
    except InvalidProofError as error:
        print(f"NOT PROVEN: {error}")  # noqa: T201 - it is a program
        return WRONG
    if checked.anchored:
        print(f"proven: {checked.line}")  # noqa: T201
        return 0
    print(f"consistent, NOT anchored: {checked.line}")  # noqa: T201
    return 0 if options.self_consistent else NOT_ANCHORED


def _create_parser() -> argparse.ArgumentParser:
    parser = ProofArgumentParser(description="Verify a proof of Saldo without the service.")
    parser.add_argument("proof", help="file with the response to GET /v1/proof/{uuid}; - is stdin")
    anchor = parser.add_mutually_exclusive_group()
    anchor.add_argument(
        "--seals",
        nargs="+",
        default=[],
        metavar="FILE",
        help="files with responses to GET /v1/seals that you saved earlier",
    )
    anchor.add_argument(
        "--self-consistent",
        action="store_true",
        help="exit with 0 and not with 2 if the proof is consistent in itself, although it may be forged",
    )
    parser.add_argument(
        "--chain",
        nargs="+",
        default=[],
        metavar="FILE",
        help="files with responses to GET /v1/seals?shard=…&after=…, from the proof's seal to the saved one",
    )
    return parser


def verify_proof(
    proof: Any, *, kept: Sequence[Any] = (), chain: Sequence[Any] = ()
) -> VerifiedProof:
    """Verify a proof. If kept seals are given, also verify that it leads to one of them.

    Args:
        proof: The response of the service, as `json.loads` returns it.
        kept: Responses with the seals that were kept.
        chain: Responses with the seals from the proof's seal to a kept one.

    Raises:
        InvalidProofError: The proof is wrong, or does not lead to a kept seal.
    """
    entry, seal = _check_entry_in_seal(proof)
    uuid, kind, outcome = (_get_member(entry, name) for name in ("uuid", "kind", "outcome"))
    line = (
        f"{uuid}, {kind} of {_get_member(entry, 'amount')} for user {_get_member(entry, 'user_id')}, "
        f"{outcome}, balance {_get_member(entry, 'balance')} (minor units), "
        f"is entry {_get_member(entry, 'seq')} of shard {seal.shard}"
    )
    if not kept:
        return VerifiedProof(
            f"{line}, in the seal {seal.hash.hex()}; the proof may be forged: verify it against a seal that you "
            "saved earlier (--seals)",
            anchored=False,
        )
    saved_seal = follow_chain(seal, kept, chain)
    return VerifiedProof(
        f"{line}, covered by the saved seal {saved_seal.hash.hex()}", anchored=True
    )


def _check_entry_in_seal(proof: Any) -> tuple[Any, CheckedSeal]:
    """Return the entry of a proof, and the seal that it leads to.

    Raises:
        InvalidProofError: The entry does not lead to the seal.
    """
    version = _get_integer(proof, "version", INT16)
    if version != VERSION:
        raise InvalidProofError(
            f"the proof has version {version}, but this program supports version {VERSION} only"
        )
    entry = _get_member(proof, "entry")
    seal = _parse_seal(_get_member(proof, "seal"))
    seq, shard = _get_integer(entry, "seq", INT64), _get_integer(entry, "shard", INT16)
    if shard != seal.shard or not seal.first_seq <= seq <= seal.last_seq:
        raise InvalidProofError("the seal does not cover the entry")
    leaf_index, path = _get_integer(proof, "leaf_index", INT64), _get_member(proof, "path")
    if leaf_index != seq - seal.first_seq:
        raise InvalidProofError("leaf_index is not the position of the entry in the seal")
    if not isinstance(path, list):
        raise InvalidProofError("path is not a list")
    leaf = sha256(b"\x00" + encode_entry(entry)).digest()
    size = seal.last_seq - seal.first_seq + 1
    root = compute_merkle_root(leaf, leaf_index, size, [_parse_hash(each, "path") for each in path])
    if root != _parse_hash(_get_member(_get_member(proof, "seal"), "root"), "root"):
        raise InvalidProofError(
            "the proof is invalid: the entry and the path don't give the root of the seal, so at least one of them "
            "was altered"
        )
    return entry, seal


def encode_entry(entry: Any) -> bytes:
    """Return the bytes of an entry that are hashed."""
    columns = [
        *(
            _get_integer(entry, name, INT64).to_bytes(8, "big", signed=True)
            for name in ("seq", "user_id", "number", "amount", "balance")
        ),
        *(_encode_time(entry, name) for name in ("timestamp", "horizon", "recorded_at")),
        _encode_uuid(entry),
        _get_integer(entry, "shard", INT16).to_bytes(2, "big", signed=True),
        _find_code(entry, "kind", KINDS).to_bytes(2, "big"),
        _find_code(entry, "outcome", OUTCOMES).to_bytes(2, "big"),
    ]
    encoded = len(columns).to_bytes(2, "big")
    for column in columns:
        encoded += len(column).to_bytes(4, "big") + column
    return encoded


def compute_merkle_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root of the tree that a leaf and its path lead to (RFC 9162, section 2.1.3.2).

    Raises:
        InvalidProofError: No tree of this size has such a path.
    """
    node, position, last = leaf, index, size - 1
    for sibling in path:
        if last == 0:
            raise InvalidProofError("the path is too long")
        if position % 2 == 1 or position == last:
            node = sha256(b"\x01" + sibling + node).digest()
            while position % 2 == 0 and position != 0:
                position, last = position // 2, last // 2
        else:
            node = sha256(b"\x01" + node + sibling).digest()
        position, last = position // 2, last // 2
    if last != 0:
        raise InvalidProofError("the path is too short")
    return node


def follow_chain(seal: CheckedSeal, saved: Sequence[Any], chain: Sequence[Any]) -> CheckedSeal:
    """Follow the chain from a seal to the next seal that was kept, and return that kept seal.

    Raises:
        InvalidProofError: The chain does not lead to a kept seal.
    """
    all_kept = [
        each for document in saved for each in _parse_seals(document) if each.shard == seal.shard
    ]
    later = [each for each in all_kept if each.last_seq >= seal.last_seq]
    if not later:
        raise InvalidProofError(
            f"no saved seal of shard {seal.shard} is as new as the entry's seal: save the newest seals now, "
            "and verify against them next time"
        )
    target = min(later, key=lambda each: each.last_seq)
    links = {each.previous: each for document in chain for each in _parse_seals(document)}
    while seal.last_seq < target.last_seq:
        following = links.get(seal.hash)
        if following is None or (following.shard, following.first_seq) != (
            seal.shard,
            seal.last_seq + 1,
        ):
            raise InvalidProofError(
                f"--chain lacks the seal after {seal.last_seq}: GET /v1/seals?shard={seal.shard}&after={seal.last_seq}"
            )
        seal = following
    if seal.hash != target.hash:
        raise InvalidProofError(
            f"the saved seal differs: shard {seal.shard} was changed at or before "
            f"entry {target.last_seq}"
        )
    return target


def _parse_seals(document: Any) -> list[CheckedSeal]:
    items = _get_member(document, "items")
    if not isinstance(items, list):
        raise InvalidProofError("items is not a list of seals")
    return [_parse_seal(item) for item in items]


def _parse_seal(document: Any) -> CheckedSeal:
    shard = _get_integer(document, "shard", INT16)
    first_seq, last_seq = (
        _get_integer(document, "first_seq", INT64),
        _get_integer(document, "last_seq", INT64),
    )
    previous, root, hash_ = (
        _parse_hash(_get_member(document, name), name) for name in ("previous", "root", "hash")
    )
    if not 0 < first_seq <= last_seq or (first_seq == 1) is not (previous == bytes(32)):
        raise InvalidProofError("the seal has impossible positions")
    positions = (
        shard.to_bytes(2, "big", signed=True)
        + first_seq.to_bytes(8, "big")
        + last_seq.to_bytes(8, "big")
    )
    if sha256(b"\x02" + previous + positions + root).digest() != hash_:
        raise InvalidProofError(
            f"the hash of the seal of entries {first_seq} to {last_seq} is wrong"
        )
    return CheckedSeal(shard, first_seq, last_seq, previous, hash_)


def _read_json(name: str) -> Any:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidProofError(f"can't read {name}: {error}") from None


def _get_member(document: Any, name: str) -> Any:
    if not isinstance(document, dict) or name not in document:
        raise InvalidProofError(f"{name} is missing: expected a response of Saldo")
    return document[name]


def _get_integer(document: Any, name: str, bound: int) -> int:
    value = _get_member(document, name)
    if type(value) is not int or not -bound <= value < bound:
        raise InvalidProofError(f"{name} is not a whole number in the valid range")
    return value


def _find_code(document: Any, name: str, numbers: dict[str, int]) -> int:
    value = _get_member(document, name)
    if not isinstance(value, str) or value not in numbers:
        raise InvalidProofError(f"{name} is not one of {', '.join(numbers)}")
    return numbers[value]


def _encode_time(document: Any, name: str) -> bytes:
    """Return the eight bytes of a time. Only the form that the service writes is accepted, which is unique for each
    time."""
    value = _get_member(document, name)
    if value is None:
        return (-INT64).to_bytes(8, "big", signed=True)
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise InvalidProofError(f"{name} is not a time such as 2023-10-30T00:00:00.000000+00:00")
    try:
        since = datetime.fromisoformat(value) - _EPOCH
    except ValueError as error:
        raise InvalidProofError(f"{name}: {error}") from None
    return (since // timedelta(microseconds=1)).to_bytes(8, "big", signed=True)


def _encode_uuid(document: Any) -> bytes:
    value = _get_member(document, "uuid")
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise InvalidProofError("uuid is not a UUID in lower-case hexadecimal")
    return bytes.fromhex(value.replace("-", ""))


def _parse_hash(value: Any, name: str) -> bytes:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise InvalidProofError(f"{name} is not a hash in lower-case hexadecimal")
    return bytes.fromhex(value)


if __name__ == "__main__":
    sys.exit(main())
