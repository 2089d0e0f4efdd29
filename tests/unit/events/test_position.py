"""The text of a position: parsed as it was written, and never as another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saldo.events.position import (
    TEXT_LENGTH_MAX,
    LogPosition,
    PositionError,
    derive_epoch,
    format_position,
    parse_log_position,
)
from saldo.ledger.model import SEQ_MAX, SHARDS

POSITIONS = st.builds(
    LogPosition,
    st.binary(min_size=8, max_size=8),
    st.dictionaries(st.integers(0, SHARDS - 1), st.integers(0, SEQ_MAX)),
)


@given(POSITIONS)
def test_written_position_is_parsed_unchanged(position: LogPosition) -> None:
    text = format_position(*position)
    assert parse_log_position(text) == position
    assert len(text) <= TEXT_LENGTH_MAX


def test_longest_position_fits_a_header_and_usual_ones_are_short() -> None:
    epoch = derive_epoch("7440000000000000000-1")
    longest = format_position(epoch, dict.fromkeys(range(SHARDS), SEQ_MAX))
    assert parse_log_position(longest).positions[63] == SEQ_MAX
    assert len(longest) < TEXT_LENGTH_MAX
    assert len(format_position(epoch, {1: 1_000_000})) < 40


@given(POSITIONS, st.data())
def test_truncated_or_altered_position_is_rejected(
    position: LogPosition, data: st.DataObject
) -> None:
    text = format_position(*position)
    index = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("AZaz09-_=+/ é\n.").filter(lambda sign: sign != text[index]))
    for altered in (text[:index], text[:index] + other + text[index + 1 :], f"{text}A", f"{text}="):
        with pytest.raises(PositionError):
            parse_log_position(altered)


@given(st.text(max_size=60))
def test_any_other_text_is_rejected(text: str) -> None:
    for attempt in (text, f"v1.{text}"):
        with pytest.raises(PositionError):
            parse_log_position(attempt)


@given(st.binary(max_size=40))
def test_any_other_bytes_are_rejected(content: bytes) -> None:
    with pytest.raises(PositionError):
        parse_log_position("v1." + content.hex())
