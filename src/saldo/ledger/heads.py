"""Signed heads: statements of the sealer about the end of the log, which are published outside of the database.

A head names the last seal of every shard and the head before it, and is signed with Ed25519. The administrators of the
database do not have the key, so they can't create a head. Someone who has stored the published heads can therefore
detect that sealed entries were rewritten or cut off afterwards.

The functions are pure: times, keys and files are arguments. A head is a text file:

    saldo-head 1
    ledger 0f4f9c3e-5a7e-4a53-8c0d-2f3d0c7c9b11
    epoch 7573011872143221790-1
    number 17
    time 2026-11-30T21:26:31.000000Z
    previous 7573011872143221790-1 16 <SHA-256 of the file before, or the word none instead of the three>
    next-key <public key, or none>
    seal 0 15 <hash of the seal of shard 0 that ends at seq 15; 0 and zeros if there is none>
    …
    seal 63 8 <hash>
    key <public key>
    signature <signature of all bytes before this line>

Lines end with a line feed. Hashes, keys and the signature are in lower-case hexadecimal. Each head has exactly one
encoding. The first line contains the version of the format, so that later versions can add lines.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from saldo.ledger.model import SEQ_MAX, SHARDS
from saldo.ledger.seals import FIRST_PREVIOUS

VERSION: Final = 1
"""Version of the format that this module writes. Files with another version are rejected."""

DOCUMENT_BYTES_MAX: Final = 16_384
"""Maximum size of a file in bytes. A head of version 1 has at most about 6,500."""

KEY_BYTES: Final = 32
"""Length of a public key in bytes. A public key is its own id."""

CLOCK_STEP: Final = timedelta(microseconds=1)
"""Minimum difference between the times of two consecutive heads."""

_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_HEX32: Final = rb"[0-9a-f]{64}"
_EPOCH: Final = rb"[0-9a-f-]{1,100}"
_NUMBER: Final = rb"[1-9][0-9]{0,18}"
_SEQ: Final = rb"(?:0|[1-9][0-9]{0,18})"
_UUID: Final = rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TIME: Final = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
_DOCUMENT: Final = re.compile(
    rb"(saldo-head 1\n"
    rb"ledger (" + _UUID + rb")\n"
    rb"epoch (" + _EPOCH + rb")\n"
    rb"number (" + _NUMBER + rb")\n"
    rb"time (" + _TIME + rb")\n"
    rb"previous (?:none|(" + _EPOCH + rb") (" + _NUMBER + rb") (" + _HEX32 + rb"))\n"
    rb"next-key (none|" + _HEX32 + rb")\n"
    rb"((?:seal [0-9]{1,2} "
    + _SEQ
    + rb" "
    + _HEX32
    + rb"\n){%d})" % SHARDS
    + rb"key ("
    + _HEX32
    + rb")\n)"
    rb"signature (?P<signature>[0-9a-f]{128})\n"
)
_VERSION_LINE: Final = re.compile(rb"saldo-head ([0-9]{1,9})\n")


class InvalidHeadError(ValueError):
    """Raised when a file is not a head of this version. The message describes the reason."""


class HeadReference(NamedTuple):
    """A reference to another head: its epoch and number, and the SHA-256 of its file."""

    epoch: str
    number: int
    hash: bytes


class SealEnd(NamedTuple):
    """The end of a shard's last seal: its last `seq`, and its hash. A shard without seals has `NO_SEAL`."""

    seq: int
    hash: bytes


NO_SEAL: Final = SealEnd(0, FIRST_PREVIOUS)


class Head(NamedTuple):
    """The content of a head.

    Attributes:
        ledger: The id of the ledger, which never changes.
        epoch: The identity of the log, which a restore and a promotion change (`saldo.store.log.Log.read_identity`).
        number: 1 for the first head, otherwise one more than the number of the head before.
        time: The time of signing by the signer's clock. It is later than the time of the head before.
        previous: The head before; None for the first head. In the first head of an epoch, it is a head of another
            epoch, from which this epoch starts.
        next_key: The public key that signs the following heads; None if the key does not change.
        seals: The end of the last seal of each shard, by shard.
        key: The public key that signs this head.
    """

    ledger: UUID
    epoch: str
    number: int
    time: datetime
    previous: HeadReference | None
    next_key: bytes | None
    seals: tuple[SealEnd, ...]
    key: bytes


class SignedHead(NamedTuple):
    """A head with its file.

    Attributes:
        document: The bytes of the file, with the signature.
    """

    head: Head
    document: bytes

    @property
    def hash(self) -> bytes:
        """The SHA-256 of the file, to which the following head refers."""
        return sha256(self.document).digest()

    @property
    def reference(self) -> HeadReference:
        """The reference by which the following head names this one."""
        return HeadReference(self.head.epoch, self.head.number, self.hash)

    @property
    def file_name(self) -> str:
        """The name under which the head is published. It contains the number, and a part of the hash of the epoch,
        because two epochs can have the same numbers."""
        epoch = sha256(self.head.epoch.encode("ascii")).hexdigest()[:8]
        return f"head-{self.head.number:012d}-{epoch}.txt"

    @property
    def has_valid_signature(self) -> bool:
        """True if the key that the head names has signed it."""
        match = _DOCUMENT.fullmatch(self.document)
        assert match is not None
        try:
            Ed25519PublicKey.from_public_bytes(self.head.key).verify(
                _parse_hex(match["signature"]), match[1]
            )
        except (InvalidSignature, ValueError):
            return False
        return True


def sign_head(head: Head, private_key: Ed25519PrivateKey) -> SignedHead:
    """Return the head with its signature.

    Args:
        private_key: The private key of `head.key`.

    Raises:
        InvalidHeadError: The head violates a rule of the format.
    """
    if private_key.public_key().public_bytes_raw() != head.key:
        raise InvalidHeadError("the head names another key than the one that signs it")
    body = encode_head(head)
    signed = SignedHead(
        head, body + b"signature %s\n" % private_key.sign(body).hex().encode("ascii")
    )
    if parse_head(signed.document).head != head:
        raise InvalidHeadError("the head can't be encoded")
    return signed


def encode_head(head: Head) -> bytes:
    """Return the bytes of a head that are signed."""
    previous = head.previous
    lines = [
        f"saldo-head {VERSION}",
        f"ledger {head.ledger}",
        f"epoch {head.epoch}",
        f"number {head.number}",
        f"time {_format_time(head.time)}",
        "previous none"
        if previous is None
        else f"previous {previous.epoch} {previous.number} {previous.hash.hex()}",
        f"next-key {'none' if head.next_key is None else head.next_key.hex()}",
        *(f"seal {shard} {end.seq} {end.hash.hex()}" for shard, end in enumerate(head.seals)),
        f"key {head.key.hex()}",
    ]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def parse_head(document: bytes) -> SignedHead:
    """Return the head that a file contains. The signature is not checked.

    Raises:
        InvalidHeadError: The file is not a head of this version.
    """
    if len(document) > DOCUMENT_BYTES_MAX:
        raise InvalidHeadError("a file that is too large")
    match = _DOCUMENT.fullmatch(document)
    if match is None:
        version = _VERSION_LINE.match(document)
        if version is not None and int(version[1]) != VERSION:
            raise InvalidHeadError(
                f"a head of version {int(version[1])}, which this version of Saldo can't read"
            )
        raise InvalidHeadError("a file that is not a head")
    body, ledger, epoch, number, time, *reference, next_key, seals, key, _ = match.groups()
    head = Head(
        UUID(ledger.decode("ascii")),
        epoch.decode("ascii"),
        int(number),
        _parse_time(time.decode("ascii")),
        None
        if reference[0] is None
        else HeadReference(
            reference[0].decode("ascii"), int(reference[1]), _parse_hex(reference[2])
        ),
        None if next_key == b"none" else _parse_hex(next_key),
        tuple(_parse_seals(seals)),
        _parse_hex(key),
    )
    # The lines of the shards have an order, and some numbers have bounds, which the pattern does not check.
    if encode_head(head) != body or not _is_possible(head):
        raise InvalidHeadError("a head with impossible numbers")
    return SignedHead(head, document)


def find_regression(before: Head, after: Head) -> str | None:
    """Return a description of a shard whose seals in a later head can't follow those in an earlier head; None if there
    is no such shard."""
    for shard, (old, new) in enumerate(zip(before.seals, after.seals, strict=True)):
        if new.seq < old.seq:
            return f"shard {shard} sealed up to {new.seq}, and up to {old.seq} before"
        if new.seq == old.seq and new.hash != old.hash:
            return f"another seal of shard {shard} that ends at {new.seq}"
    return None


def parse_public_key(text: str) -> bytes:
    """Return a public key, as `saldo seals key` prints it, as bytes.

    Raises:
        ValueError: The text is not a public key. The message describes the expected form.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", text, re.ASCII):
        raise ValueError("expected 64 hexadecimal digits, as saldo seals key prints them")
    return bytes.fromhex(text)


def _is_possible(head: Head) -> bool:
    previous = head.previous
    follows = head.number == 1 if previous is None else previous.number + 1 == head.number
    return (
        follows
        and head.number <= SEQ_MAX
        and all(
            end.seq <= SEQ_MAX and (end.seq == 0) is (end.hash == FIRST_PREVIOUS)
            for end in head.seals
        )
    )


def _parse_seals(lines: bytes) -> list[SealEnd]:
    ends = []
    for line in lines.splitlines():
        _, _, seq, hash_ = line.split(b" ")
        ends.append(SealEnd(int(seq), _parse_hex(hash_)))
    return ends


def _parse_hex(digits: bytes) -> bytes:
    return bytes.fromhex(digits.decode("ascii"))


def _format_time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _parse_time(text: str) -> datetime:
    try:
        return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise InvalidHeadError("a head with an impossible time") from None
