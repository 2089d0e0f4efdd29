"""Cursors of lists: parsed as they were written, and rejected by other lists."""

from __future__ import annotations

from saldo.ledger.model import USER_ID_MAX
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import format_cursor, parse_cursor
from tests.fuzz.harnesses import text_of

LISTINGS = ("users", "webhooks", "transactions 1", "transactions 11", "deliveries 1")


def check(data: bytes) -> None:
    """Check any text for each list, and the number that the bytes form."""
    text = text_of(data)
    for listing in LISTINGS:
        try:
            position = parse_cursor(listing, text)
        except InvalidRequestError as error:
            assert [fault.field for fault in error.faults] == ["cursor"]
        else:
            assert position is not None
            assert 0 <= position <= USER_ID_MAX
            assert parse_cursor(listing, format_cursor(listing, position)) == position
    _check_written(int.from_bytes(data[:8], "big") >> 1)


def _check_written(position: int) -> None:
    for listing in LISTINGS:
        cursor = format_cursor(listing, position)
        assert parse_cursor(listing, cursor) == position
        for other in LISTINGS:
            if other != listing:
                assert not _reads(other, cursor)


def _reads(listing: str, cursor: str) -> bool:
    try:
        parse_cursor(listing, cursor)
    except InvalidRequestError:
        return False
    return True
