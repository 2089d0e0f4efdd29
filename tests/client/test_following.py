"""Following events: parsing the stream, and the position from which the client resumes after a loss."""

from __future__ import annotations

from itertools import islice

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saldo.client.errors import PositionGoneError, UnavailableError, UnexpectedResponseError
from saldo.client.event_stream import EventStreamState
from saldo.client.models import Event, UserData
from saldo.client.retry import Retries, create_no_response_error
from saldo.client.sse import FRAME_BYTES_MAX, FrameParser

RETRIES = Retries(pause_seconds=0.1, pause_seconds_max=2)
BROKEN = create_no_response_error(httpx.ReadError("broken"))


def frame(number: int, position: str = "") -> bytes:
    data = (
        f'{{"specversion":"1.0","id":"event-{number}","source":"/saldo","type":"saldo.user.created",'
        f'"subject":"{number}","time":"2026-11-24T12:00:00+00:00","datacontenttype":"application/json",'
        f'"data":{{"id":{number},"name":"счёт-4711","balance":"0.00","number":0,'
        f'"created_at":"2026-11-24T12:00:00+00:00","shard":1,"seq":{number}}}}}'
    )
    head = f"id: {position}\n" if position else ""
    return f"{head}event: saldo.user.created\ndata: {data}\n\n".encode()


def make_follower(timeout_seconds: float | None = None) -> EventStreamState:
    return EventStreamState([1, 2], ["saldo.user.created"], "start", timeout_seconds)


def given_out(follower: EventStreamState, data: bytes) -> list[Event]:
    """Return the events that a piece of the stream completes."""
    follower.feed(data)
    return list(follower.events())


@settings(deadline=None)
@given(st.lists(st.integers(1, 400), max_size=30))
def test_parsing_does_not_depend_on_how_the_bytes_are_split(cuts: list[int]) -> None:
    stream = b"retry: 2178\n\n" + frame(1) + b": \nid: v1.a\n\n" + frame(2, "v1.b") + b": on\n\n"
    frames, found = FrameParser(), []
    for size in [*cuts, len(stream)]:
        found += frames.feed(stream[:size])
        stream = stream[size:]
    assert [each.id for each in found] == [None, None, "v1.a", "v1.b", None]
    assert [each.data is not None for each in found] == [False, True, False, True, False]
    assert found[0].retry_milliseconds == 2178


def test_endless_frame_does_not_fill_the_memory() -> None:
    with pytest.raises(ValueError, match="more than"):
        FrameParser().feed(b"x" * (FRAME_BYTES_MAX + 1))
    with pytest.raises(UnexpectedResponseError):
        make_follower().feed(b"x" * (FRAME_BYTES_MAX + 1))


def test_stream_starts_at_the_given_position_and_resumes() -> None:
    follower = make_follower()
    query, headers = follower.build_connection_request()
    assert query == (("user_id", "1,2"), ("type", "saldo.user.created"), ("from", "start"))
    assert "last-event-id" not in headers
    (event,) = given_out(follower, frame(1, "v1.a"))
    assert (event.user_id, event.position, follower.position) == (1, "v1.a", "v1.a")
    assert isinstance(event.data, UserData)
    assert event.data.name == "счёт-4711"
    query, headers = follower.build_connection_request()
    assert headers["last-event-id"] == "v1.a"
    assert "from" not in dict(query)


def test_position_without_an_event_counts() -> None:
    follower = make_follower()
    assert given_out(follower, b": \nid: v1.z\n\n") == []
    assert follower.position == "v1.z"


def test_repeated_events_are_returned_once() -> None:
    follower = make_follower()
    first = given_out(follower, b": \nid: v1.a\n\n" + frame(1) + frame(2))
    assert [event.position for event in first] == ["v1.a", "v1.a"]
    follower.build_connection_request()
    again = given_out(follower, b": \nid: v1.a\n\n" + frame(1) + frame(2) + frame(3, "v1.b"))
    assert [event.id for event in again] == ["event-3"]


def test_pausing_the_iteration_misses_nothing() -> None:
    follower = make_follower()
    follower.feed(frame(1, "v1.a") + frame(2) + frame(3, "v1.b") + b": \nid: v1.c\n\n")
    assert next(follower.events()).id == "event-1"
    assert follower.position == "v1.a"
    second = next(follower.events())
    assert (second.id, second.position, follower.position) == ("event-2", "v1.a", "v1.a")
    assert [event.id for event in follower.events()] == ["event-3"]
    assert follower.position == "v1.c"


@settings(deadline=None)
@given(st.integers(1, 12), st.data())
def test_each_event_is_returned_once_wherever_connections_break(
    count: int, data: st.DataObject
) -> None:
    """Break off connections at any byte, to a service that divides the remaining events differently each time."""
    follower, got = make_follower(), list[str]()
    for breaks in (True, True, True, False):
        _, headers = follower.build_connection_request()
        begun = int(headers.get("last-event-id", "v1.0")[3:])
        stream = b": \nid: v1.%d\n\n" % begun
        for number in range(begun + 1, count + 1):
            ends = number == count or data.draw(st.booleans(), "ends")
            stream += frame(number, f"v1.{number}" if ends else "")
        end = data.draw(st.integers(0, len(stream)), "end") if breaks else len(stream)
        follower.feed(stream[:end])
        for taken in (data.draw(st.integers(0, count), "taken"), count):
            got += [event.id for event in islice(follower.events(), taken)]
    assert got == [f"event-{each}" for each in range(1, count + 1)]


def test_malformed_event_raises_an_error_after_the_events_before_it() -> None:
    follower = make_follower()
    follower.feed(frame(1, "v1.a") + b"data: []\n\n" + frame(2, "v1.b"))
    events = follower.events()
    assert next(events).id == "event-1"
    with pytest.raises(UnexpectedResponseError):
        next(events)
    # The position must not move past the event, or the event would be lost.
    assert (list(follower.events()), follower.position) == ([], "v1.a")


def test_incomplete_event_is_discarded_on_reconnect() -> None:
    follower = make_follower()
    follower.feed(frame(1)[:50])
    follower.build_connection_request()
    assert [event.id for event in given_out(follower, frame(1))] == ["event-1"]


def test_pauses_grow_until_data_arrives() -> None:
    follower = make_follower()
    pauses = [follower.compute_reconnect_pause(BROKEN, 0.0, RETRIES, lambda: 1.0) for _ in range(3)]
    follower.feed(b": \n\n")
    assert [*pauses, follower.compute_reconnect_pause(BROKEN, 0.0, RETRIES, lambda: 1.0)] == [
        0.1,
        0.2,
        0.4,
        0.1,
    ]


def test_orderly_end_waits_for_the_services_retry_time() -> None:
    follower = make_follower()
    given_out(follower, b"retry: 1500\n\n")
    assert follower.compute_reconnect_pause(None, 0.0, RETRIES, lambda: 0.0) == 1.5


def test_following_has_no_timeout_by_default() -> None:
    follower = make_follower()
    follower.compute_reconnect_pause(BROKEN, 0.0, RETRIES, lambda: 1.0)
    follower.compute_reconnect_pause(BROKEN, 1e9, RETRIES, lambda: 1.0)
    patient = make_follower(timeout_seconds=10)
    patient.compute_reconnect_pause(BROKEN, 100.0, RETRIES, lambda: 1.0)
    with pytest.raises(UnavailableError):
        patient.compute_reconnect_pause(BROKEN, 110.0, RETRIES, lambda: 1.0)


def test_permanent_error_is_raised() -> None:
    with pytest.raises(PositionGoneError):
        make_follower().compute_reconnect_pause(
            PositionGoneError("gone"), 0.0, RETRIES, lambda: 1.0
        )
