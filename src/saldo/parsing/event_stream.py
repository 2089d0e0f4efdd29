"""Parser of requests for the live stream: the query, and the header `Last-Event-ID`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, cast
from urllib.parse import parse_qsl

from saldo.events.event import EVENT_TYPES, EventType
from saldo.events.live.hub import Start, compute_shards
from saldo.events.live.subscription import EventFilter
from saldo.events.position import PREFIX, PositionError, parse_log_position
from saldo.ledger.model import USER_ID_MAX
from saldo.parsing.faults import FaultCollector, InvalidRequestError
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

    event_filter: EventFilter
    start: Start
    field: str


def parse_stream_request(
    query: bytes, header: str, options: ParserOptions, users_max: int
) -> StreamRequest:
    """Parse a request for the live stream.

    Args:
        header: The value of `Last-Event-ID`, or an empty string if it is missing. The header takes precedence over the
            query, because a browser that reconnects sends the header with the old query.

    Raises:
        InvalidRequestError: The request is invalid. The error contains every fault.
    """
    parameters = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    single_names = [name for name, _ in parameters if name not in REPEATABLE]
    faults = FaultCollector()
    faults.extend(
        find_unknown_parameters(
            (*single_names, *{name for name, _ in parameters if name in REPEATABLE}), PARAMETERS
        )
    )
    repeatable_values = {
        name: [part for key, value in parameters if key == name for part in value.split(",")]
        for name in REPEATABLE
    }
    values = dict(parameters)
    users = _parse_users(repeatable_values["user_id"], users_max, faults)
    types = _parse_types(repeatable_values["type"], faults)
    field, text = "from", values.get("from", "now")
    if values.get("last_event_id"):
        field, text = "last_event_id", values["last_event_id"]
    if header:
        field, text = HEADER, header
    start = _parse_start(field, text, options, faults)
    faults.raise_if_any()
    return StreamRequest(EventFilter(users, types, compute_shards(users)), start, field)


def _parse_users(
    parts: Iterable[str], users_max: int, faults: FaultCollector
) -> frozenset[int] | None:
    user_ids: set[int] = set()
    for part in parts:
        if not _DIGITS.fullmatch(part) or not 1 <= int(part) <= USER_ID_MAX:
            message = f"must be a whole number from 1 to {USER_ID_MAX}, or several of them, separated by commas"
            faults.add("user_id", message)
            return None
        user_ids.add(int(part))
    if len(user_ids) > users_max:
        faults.add("user_id", f"must name at most {users_max} users")
    return frozenset(user_ids) or None


def _parse_types(parts: Iterable[str], faults: FaultCollector) -> frozenset[EventType]:
    types = frozenset(parts)
    if not types <= set(EVENT_TYPES):
        faults.add("type", f"must be one or more of {', '.join(EVENT_TYPES)}")
    return cast("frozenset[EventType]", types or frozenset(EVENT_TYPES))


def _parse_start(field: str, text: str, options: ParserOptions, faults: FaultCollector) -> Start:
    """Parse the start of a stream. If a fault is added, the returned value has no meaning."""
    if field == "from" and text == "now":
        return "now"
    if field == "from" and text == "start":
        return "start"
    try:
        if field != "from" or text.startswith(PREFIX):
            return parse_log_position(text)
        instant = parse_query_instant(field, text, options)
        assert instant is not None
    except PositionError:
        message = "is not the id of an event of this stream: send the last id unchanged, or start with from="
        faults.add(field, message)
    except InvalidRequestError:
        message = "must be now, start, the id of an event, or a time such as 2023-10-30T12:30:45Z"
        faults.add(field, message)
    else:
        return instant
    return "now"
