"""Positions of the live stream: one text for each, and any other text is refused."""

from __future__ import annotations

from saldo.ledger.model import SEQ_MAX, SHARDS
from saldo.relay.position import EPOCH_BYTES, PositionError, read_position, write_position
from tests.fuzz.harnesses import text_of


def check(data: bytes) -> None:
    """Any text; and the position that the bytes make, with one sign of its text altered."""
    for text in (text_of(data), f"v1.{text_of(data)}"):
        try:
            position = read_position(text)
        except PositionError:
            continue
        assert write_position(*position) == text
    _check_written(data)


def _check_written(data: bytes) -> None:
    epoch = data[:EPOCH_BYTES].ljust(EPOCH_BYTES, b"\0")
    rest = data[EPOCH_BYTES:]
    positions = {
        rest[index] % SHARDS: int.from_bytes(rest[index + 1 : index + 9], "big") % (SEQ_MAX + 1)
        for index in range(0, len(rest), 9)
    }
    text = write_position(epoch, positions)
    assert read_position(text) == (epoch, positions)
    index = sum(data) % len(text)
    altered = text[:index] + chr(ord(text[index]) ^ 1) + text[index + 1 :]
    try:
        read_position(altered)
    except PositionError:
        return
    raise AssertionError(f"{altered} was read as a position")
