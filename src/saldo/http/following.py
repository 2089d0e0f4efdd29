"""Reading what a subscriber of the live stream asks for: the query, and the header `Last-Event-ID`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, cast
from urllib.parse import parse_qsl

from saldo.http.query import unread
from saldo.http.wire import Fault, InvalidError, Reading, parse_query_instant
from saldo.ledger.model import USER_ID_MAX
from saldo.relay.events import EVENT_TYPES, EventType
from saldo.relay.live import Start, shards_of
from saldo.relay.position import PREFIX, PositionError, read_position
from saldo.relay.subscription import Wanted

PARAMETERS: Final = ("user_id", "type", "from", "last_event_id")
REPEATABLE: Final = ("user_id", "type")
HEADER: Final = "Last-Event-ID"

_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)


class Following(NamedTuple):
    """What is to be followed, and from where on.

    Attributes:
        field: what said where to begin; a fault of it is told under this name.
    """

    wanted: Wanted
    start: Start
    field: str


def read_following(query: bytes, header: str, reading: Reading, users_max: int) -> Following:
    """The whole request.

    Args:
        header: `Last-Event-ID`; empty: none. It wins: a browser that connects again sends it with the old query.

    Raises:
        InvalidError: with every fault.
    """
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    once = [name for name, _ in given if name not in REPEATABLE]
    faults = unread((*once, *{name for name, _ in given if name in REPEATABLE}), PARAMETERS)
    listed = {
        name: [part for key, value in given if key == name for part in value.split(",")]
        for name in REPEATABLE
    }
    single = dict(given)
    users = _users(listed["user_id"], users_max, faults)
    types = _types(listed["type"], faults)
    field, text = "from", single.get("from", "now")
    if single.get("last_event_id"):
        field, text = "last_event_id", single["last_event_id"]
    if header:
        field, text = HEADER, header
    start = _start(field, text, reading, faults)
    if faults:
        raise InvalidError(faults)
    return Following(Wanted(users, types, shards_of(users)), start, field)


def _users(parts: Iterable[str], users_max: int, faults: list[Fault]) -> frozenset[int] | None:
    found: set[int] = set()
    for part in parts:
        if not _DIGITS.fullmatch(part) or not 1 <= int(part) <= USER_ID_MAX:
            message = "must be a whole number greater than zero, or several, with commas"
            faults.append(Fault("user_id", message))
            return None
        found.add(int(part))
    if len(found) > users_max:
        faults.append(Fault("user_id", f"must be at most {users_max} users"))
    return frozenset(found) or None


def _types(parts: Iterable[str], faults: list[Fault]) -> frozenset[EventType]:
    found = frozenset(parts)
    if not found <= set(EVENT_TYPES):
        faults.append(Fault("type", f"must be of {', '.join(EVENT_TYPES)}"))
    return cast("frozenset[EventType]", found or frozenset(EVENT_TYPES))


def _start(field: str, text: str, reading: Reading, faults: list[Fault]) -> Start:
    """Where to begin; anything where a fault is added."""
    if field == "from" and text == "now":
        return "now"
    if field == "from" and text == "start":
        return "start"
    try:
        if field != "from" or text.startswith(PREFIX):
            return read_position(text)
        found = parse_query_instant(field, text, reading)
        assert found is not None
    except PositionError:
        message = (
            "is no id of an event of this stream: give the last one as it came, or begin with from="
        )
        faults.append(Fault(field, message))
    except InvalidError:
        message = "must be now, start, the id of an event, or a time such as 2023-10-30T12:30:45Z"
        faults.append(Fault(field, message))
    else:
        return found
    return "now"
