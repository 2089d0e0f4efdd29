"""The route of the event stream."""

from __future__ import annotations

from litestar import get
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp

from saldo.events.event import EVENT_TYPES
from saldo.http.api.context import InjectedContext
from saldo.http.openapi.bodies import (
    GetEventsOperation,
)
from saldo.http.openapi.errors import DATABASE_CODES, describe_problems
from saldo.http.openapi.parameters import (
    EventsFrom,
    EventTypes,
    EventUsers,
    LastEventId,
)
from saldo.parsing.faults import InvalidField


@get(
    "/v1/events",
    summary="Stream events",
    tags=["events"],
    operation_class=GetEventsOperation,
    responses={
        200: ResponseSpec(
            str,
            description="The response continues until the client or the service closes it.",
            generate_examples=False,
        ),
        **describe_problems(
            "position_gone",
            *DATABASE_CODES,
            invalid=InvalidField("type", f"must be one or more of {', '.join(EVENT_TYPES)}"),
        ),
    },
)
async def get_events(
    service: InjectedContext,
    user_id: EventUsers = None,
    kind: EventTypes = None,
    since: EventsFrom = None,
    last_event_id: LastEventId = None,
) -> ASGIApp:
    """Streams the events of the log as server-sent events, from now on or from any earlier position.

    To resume without loss, send the last `id` that you received. The events of one user arrive in the order of
    `number`."""
    return service.event_stream_handler
