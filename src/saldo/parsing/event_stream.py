"""Parser of requests for the live stream: the query, and the header `Last-Event-ID`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, cast
from urllib.parse import parse_qsl

from saldo.events.event import EVENT_TYPES, EventType
from saldo.events.live.hub import Start, shards_of
from saldo.events.live.subscription import EventFilter
from saldo.events.position import PREFIX, PositionError, parse_log_position
from saldo.ledger.model import USER_ID_MAX
from saldo.parsing.faults import FaultCollector, InvalidError
from saldo.parsing.transactions import ParserOptions, parse_query_instant
from saldo.parsing.unknown_parameters import find_unknown_parameters

PARAMETERS: Final = ("user_id", "type", "from", "last_event_id")
REPEATABLE: Final = ("user_id", "type")
HEADER: Final = "Last-Event-ID"

_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)


class StreamRequest(NamedTuple):
    """A request for the live stream: the wanted events, and the start.

    Attributes:
        field: The parameter or header that gave the start. A fault of the start is reported under this name.
    """

    wanted: EventFilter
    start: Start
    field: str


def parse_stream_request(
    query: bytes, header: str, reading: ParserOptions, users_max: int
) -> StreamRequest:
    """Parse a request for the live stream.

    Args:
        header: The value of `Last-Event-ID`, or an empty string if it is missing. It takes precedence over the query,
            because a browser that reconnects sends it with the old query.

    Raises:
        InvalidError: The request is invalid. The error contains every fault.
    """
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    once = [name for name, _ in given if name not in REPEATABLE]
    faults = FaultCollector()
    faults.extend(
        find_unknown_parameters(
            (*once, *{name for name, _ in given if name in REPEATABLE}), PARAMETERS
        )
    )
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
    faults.raise_if_any()
    return StreamRequest(EventFilter(users, types, shards_of(users)), start, field)


def _users(parts: Iterable[str], users_max: int, faults: FaultCollector) -> frozenset[int] | None:
    found: set[int] = set()
    for part in parts:
        if not _DIGITS.fullmatch(part) or not 1 <= int(part) <= USER_ID_MAX:
            message = f"must be a whole number from 1 to {USER_ID_MAX}, or several of them, separated by commas"
            faults.add("user_id", message)
            return None
        found.add(int(part))
    if len(found) > users_max:
        faults.add("user_id", f"must name at most {users_max} users")
    return frozenset(found) or None


def _types(parts: Iterable[str], faults: FaultCollector) -> frozenset[EventType]:
    found = frozenset(parts)
    if not found <= set(EVENT_TYPES):
        faults.add("type", f"must be one or more of {', '.join(EVENT_TYPES)}")
    return cast("frozenset[EventType]", found or frozenset(EVENT_TYPES))


def _start(field: str, text: str, reading: ParserOptions, faults: FaultCollector) -> Start:
    """Parse the start of a stream. If a fault is added, the returned value has no meaning."""
    if field == "from" and text == "now":
        return "now"
    if field == "from" and text == "start":
        return "start"
    try:
        if field != "from" or text.startswith(PREFIX):
            return parse_log_position(text)
        found = parse_query_instant(field, text, reading)
        assert found is not None
    except PositionError:
        message = "is not the id of an event of this stream: send the last id unchanged, or start with from="
        faults.add(field, message)
    except InvalidError:
        message = "must be now, start, the id of an event, or a time such as 2023-10-30T12:30:45Z"
        faults.add(field, message)
    else:
        return found
    return "now"
