"""The text form of positions in the log. Clients of the live stream receive it as the id of an event, and store it.

The text is `v1.` followed by base64url without padding of: the epoch of the log (8 bytes), the set of shards (64 bits),
the `seq` of each of these shards as a varint, and a CRC-32 of all preceding bytes. The CRC detects a text that was cut
or altered while a client stored it. Without the CRC, such a text could be read as another position, and events would be
lost unnoticed.
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
"""Maximum length of a text, in characters. It is more than a position with 64 varints of nine bytes needs."""

EPOCH_BYTES: Final = 8
_HEAD_BYTES: Final = EPOCH_BYTES + SHARDS // 8
_CHECK_BYTES: Final = 4


class PositionError(ValueError):
    """Raised when a text is not a position."""


class LogPosition(NamedTuple):
    """A position in one log.

    Attributes:
        epoch: the epoch of the log, see `derive_epoch`.
        positions: the `seq` by shard up to which everything has been read.
    """

    epoch: bytes
    positions: Positions


def derive_epoch(identity: str) -> bytes:
    """Return the short form of a log identity (`saldo.store.log.Log.read_identity`)."""
    return hashlib.blake2b(identity.encode(), digest_size=EPOCH_BYTES).digest()


def format_position(epoch: bytes, positions: Mapping[int, int]) -> str:
    """Return the text of a position."""
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


def parse_log_position(text: str) -> LogPosition:
    """Parse the text of a position.

    Raises:
        PositionError: `format_position` could not have written the text.
    """
    if not text.startswith(PREFIX) or len(text) > TEXT_LENGTH_MAX:
        raise PositionError(text[:TEXT_LENGTH_MAX])
    encoded = text[len(PREFIX) :]
    try:
        content = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        position = _parse_content(content)
    except (binascii.Error, ValueError, IndexError) as error:
        raise PositionError(text) from error
    # Each position has exactly one text, so any other text was not written by this module.
    if format_position(*position) != text:
        raise PositionError(text)
    return position


def _parse_content(content: bytes) -> LogPosition:
    shards = int.from_bytes(content[EPOCH_BYTES:_HEAD_BYTES], "big")
    positions: Positions = {}
    index = _HEAD_BYTES
    for shard in range(SHARDS):
        if shards >> shard & 1:
            positions[shard], index = _parse_varint(content, index)
    return LogPosition(content[:EPOCH_BYTES], positions)


def _parse_varint(content: bytes, index: int) -> tuple[int, int]:
    """Return the varint at an index, and the index after it."""
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
