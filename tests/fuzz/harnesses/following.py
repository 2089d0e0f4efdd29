"""What a subscriber of the live stream asks for: within every bound, or faults with the parameter's name."""

from __future__ import annotations

from datetime import UTC, datetime

from saldo.http.following import HEADER, PARAMETERS, read_following
from saldo.http.wire import InvalidError, Reading
from saldo.ledger.model import USER_ID_MAX
from saldo.relay.events import EVENT_TYPES
from saldo.relay.position import Position

READING = Reading(zone=UTC, decimals=2, amount_max_minor=1, name_length_max=1)
USERS_MAX = 3


def check(data: bytes) -> None:
    """The query, a line break, and the header."""
    query, _, header = data.partition(b"\n")
    try:
        following = read_following(query, header.decode("latin-1"), READING, USERS_MAX)
    except InvalidError as error:
        assert error.faults
        assert all(fault.message for fault in error.faults)
        return
    users, types = following.wanted.users, following.wanted.types
    assert users is None or (
        0 < len(users) <= USERS_MAX and min(users) >= 1 and max(users) <= USER_ID_MAX
    )
    assert types and types <= set(EVENT_TYPES)
    assert isinstance(following.start, datetime | Position) or following.start in {"now", "start"}
    assert following.field in {*PARAMETERS, HEADER}
