"""Positions of the live stream: one text for each, and any other text is rejected."""

from __future__ import annotations

from saldo.events.position import EPOCH_BYTES, PositionError, format_position, parse_log_position
from saldo.ledger.model import SEQ_MAX, SHARDS
from tests.fuzz.harnesses import text_of


def check(data: bytes) -> None:
    """Check any text, and the position that the bytes form, with one character of its text changed."""
    for text in (text_of(data), f"v1.{text_of(data)}"):
        try:
            position = parse_log_position(text)
        except PositionError:
            continue
        assert format_position(*position) == text
    _check_written(data)


def _check_written(data: bytes) -> None:
    epoch = data[:EPOCH_BYTES].ljust(EPOCH_BYTES, b"\0")
    rest = data[EPOCH_BYTES:]
    positions = {
        rest[index] % SHARDS: int.from_bytes(rest[index + 1 : index + 9], "big") % (SEQ_MAX + 1)
        for index in range(0, len(rest), 9)
    }
    text = format_position(epoch, positions)
    assert parse_log_position(text) == (epoch, positions)
    index = sum(data) % len(text)
    altered = text[:index] + chr(ord(text[index]) ^ 1) + text[index + 1 :]
    try:
        parse_log_position(altered)
    except PositionError:
        return
    raise AssertionError(f"{altered} was read as a position")
