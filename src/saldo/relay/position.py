"""Positions in the log as clients of the live stream keep them: one short text for up to 64 shards.

`v1.` and, in base64url without padding: the log's epoch (8 bytes), which shards there are (64 bits), the `seq`
of each as a varint, a CRC-32 of all that. The CRC is against a text that was cut or altered on its way
through somebody's database: taken as it stands it would be another position, and events would be lost in silence.
"""

from __future__ import annotations

import binascii
import hashlib
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Final, NamedTuple

from saldo.ledger.model import SEQ_MAX, SHARDS
from saldo.store.log import Positions

PREFIX: Final = "v1."
TEXT_LENGTH_MAX: Final = 1000
"""More than 64 positions of nine bytes each need."""

EPOCH_BYTES: Final = 8
_HEAD_BYTES: Final = EPOCH_BYTES + SHARDS // 8
_CHECK_BYTES: Final = 4


class PositionError(ValueError):
    """A text is no position."""


class Position(NamedTuple):
    """A place in one log.

    Attributes:
        epoch: of the log, see `epoch_of`.
        positions: by shard, the `seq` up to which everything has been seen.
    """

    epoch: bytes
    positions: Positions


def epoch_of(identity: str) -> bytes:
    """The short form of a log's identity (`saldo.store.log.Log.identity`)."""
    return hashlib.blake2b(identity.encode(), digest_size=EPOCH_BYTES).digest()


def write_position(epoch: bytes, positions: Mapping[int, int]) -> str:
    """The text of a position."""
    shards = 0
    numbers = bytearray()
    for shard in sorted(positions):
        shards |= 1 << shard
        left = positions[shard]
        while left > 0x7F:
            numbers.append(left & 0x7F | 0x80)
            left >>= 7
        numbers.append(left)
    content = epoch + shards.to_bytes(SHARDS // 8, "big") + numbers
    content += zlib.crc32(content).to_bytes(_CHECK_BYTES, "big")
    return PREFIX + urlsafe_b64encode(content).rstrip(b"=").decode()


def read_position(text: str) -> Position:
    """What `write_position` wrote.

    Raises:
        PositionError: it is nothing of that kind.
    """
    if not text.startswith(PREFIX) or len(text) > TEXT_LENGTH_MAX:
        raise PositionError(text[:TEXT_LENGTH_MAX])
    encoded = text[len(PREFIX) :]
    try:
        content = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        position = _read(content)
    except (binascii.Error, ValueError, IndexError) as error:
        raise PositionError(text) from error
    # Nothing is written in two ways: what is not as we write it was not written by us.
    if write_position(*position) != text:
        raise PositionError(text)
    return position


def _read(content: bytes) -> Position:
    shards = int.from_bytes(content[EPOCH_BYTES:_HEAD_BYTES], "big")
    positions: Positions = {}
    index = _HEAD_BYTES
    for shard in range(SHARDS):
        if shards >> shard & 1:
            positions[shard], index = _read_number(content, index)
    return Position(content[:EPOCH_BYTES], positions)


def _read_number(content: bytes, index: int) -> tuple[int, int]:
    """The varint at an index, and the index behind it."""
    number = shift = 0
    while True:
        byte = content[index]
        number |= (byte & 0x7F) << shift
        index += 1
        shift += 7
        if byte <= 0x7F:
            if number > SEQ_MAX:
                raise PositionError(str(number))
            return number, index
