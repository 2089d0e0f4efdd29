"""Requests of subscribers of the live stream: within all limits, or faults with the parameter's name."""

from __future__ import annotations

from datetime import UTC, datetime

from saldo.events.event import EVENT_TYPES
from saldo.events.position import LogPosition
from saldo.ledger.model import USER_ID_MAX
from saldo.parsing.event_stream import HEADER, PARAMETERS, parse_stream_request
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import ParserOptions

READING = ParserOptions(zone=UTC, decimals=2, amount_max_minor=1, name_length_max=1)
USERS_MAX = 3


def check(data: bytes) -> None:
    """Check a query and a header, separated by a line break."""
    query, _, header = data.partition(b"\n")
    try:
        following = parse_stream_request(query, header.decode("latin-1"), READING, USERS_MAX)
    except InvalidRequestError as error:
        assert error.faults
        assert all(fault.message for fault in error.faults)
        return
    users, types = following.event_filter.users, following.event_filter.types
    assert users is None or (
        0 < len(users) <= USERS_MAX and min(users) >= 1 and max(users) <= USER_ID_MAX
    )
    assert types and types <= set(EVENT_TYPES)
    assert isinstance(following.start, datetime | LogPosition) or following.start in {
        "now",
        "start",
    }
    assert following.field in {*PARAMETERS, HEADER}
