"""Following events: how bytes become events, and where it goes on after a loss."""

from __future__ import annotations

from itertools import islice

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saldo.client.errors import PositionGoneError, UnavailableError, UnexpectedAnswerError
from saldo.client.following import Following
from saldo.client.models import Event, UserData
from saldo.client.retry import Retries, lost
from saldo.client.sse import FRAME_BYTES_MAX, Frames

RETRIES = Retries(pause_seconds=0.1, pause_seconds_max=2)
BROKEN = lost(httpx.ReadError("broken"))


def frame(number: int, position: str = "") -> bytes:
    data = (
        f'{{"specversion":"1.0","id":"event-{number}","source":"/saldo","type":"saldo.user.created",'
        f'"subject":"{number}","time":"2026-11-24T12:00:00+00:00","datacontenttype":"application/json",'
        f'"data":{{"id":{number},"name":"Артём","balance":"0.00","number":0,'
        f'"created_at":"2026-11-24T12:00:00+00:00","shard":1,"seq":{number}}}}}'
    )
    head = f"id: {position}\n" if position else ""
    return f"{head}event: saldo.user.created\ndata: {data}\n\n".encode()


def following(timeout_seconds: float | None = None) -> Following:
    return Following([1, 2], ["saldo.user.created"], "start", timeout_seconds)


def given_out(follower: Following, data: bytes) -> list[Event]:
    """The events that a piece of the stream brings."""
    follower.take(data)
    return list(follower.events())


@settings(deadline=None)
@given(st.lists(st.integers(1, 400), max_size=30))
def test_it_does_not_matter_how_the_bytes_come(cuts: list[int]) -> None:
    stream = b"retry: 2178\n\n" + frame(1) + b": \nid: v1.a\n\n" + frame(2, "v1.b") + b": on\n\n"
    frames, found = Frames(), []
    for size in [*cuts, len(stream)]:
        found += frames.take(stream[:size])
        stream = stream[size:]
    assert [each.id for each in found] == [None, None, "v1.a", "v1.b", None]
    assert [each.data is not None for each in found] == [False, True, False, True, False]
    assert found[0].retry_milliseconds == 2178


def test_what_never_ends_does_not_fill_the_memory() -> None:
    with pytest.raises(ValueError, match="more than"):
        Frames().take(b"x" * (FRAME_BYTES_MAX + 1))
    with pytest.raises(UnexpectedAnswerError):
        following().take(b"x" * (FRAME_BYTES_MAX + 1))


def test_it_begins_where_it_was_told_to_and_goes_on_where_it_was() -> None:
    follower = following()
    query, headers = follower.begin()
    assert query == (("user_id", "1,2"), ("type", "saldo.user.created"), ("from", "start"))
    assert "last-event-id" not in headers
    (event,) = given_out(follower, frame(1, "v1.a"))
    assert (event.user_id, event.position, follower.position) == (1, "v1.a", "v1.a")
    assert isinstance(event.data, UserData)
    assert event.data.name == "Артём"
    query, headers = follower.begin()
    assert headers["last-event-id"] == "v1.a"
    assert "from" not in dict(query)


def test_a_position_that_comes_alone_counts() -> None:
    follower = following()
    assert given_out(follower, b": \nid: v1.z\n\n") == []
    assert follower.position == "v1.z"


def test_events_that_come_again_are_given_once() -> None:
    follower = following()
    first = given_out(follower, b": \nid: v1.a\n\n" + frame(1) + frame(2))
    assert [event.position for event in first] == ["v1.a", "v1.a"]
    follower.begin()
    again = given_out(follower, b": \nid: v1.a\n\n" + frame(1) + frame(2) + frame(3, "v1.b"))
    assert [event.id for event in again] == ["event-3"]


def test_who_stops_and_goes_on_misses_nothing() -> None:
    follower = following()
    follower.take(frame(1, "v1.a") + frame(2) + frame(3, "v1.b") + b": \nid: v1.c\n\n")
    assert next(follower.events()).id == "event-1"
    assert follower.position == "v1.a"
    second = next(follower.events())
    assert (second.id, second.position, follower.position) == ("event-2", "v1.a", "v1.a")
    assert [event.id for event in follower.events()] == ["event-3"]
    assert follower.position == "v1.c"


@settings(deadline=None)
@given(st.integers(1, 12), st.data())
def test_wherever_it_breaks_each_event_comes_once(count: int, data: st.DataObject) -> None:
    """A service that divides what is left into batches anew for each connection, which break off somewhere."""
    follower, got = following(), list[str]()
    for breaks in (True, True, True, False):
        _, headers = follower.begin()
        begun = int(headers.get("last-event-id", "v1.0")[3:])
        stream = b": \nid: v1.%d\n\n" % begun
        for number in range(begun + 1, count + 1):
            ends = number == count or data.draw(st.booleans(), "ends")
            stream += frame(number, f"v1.{number}" if ends else "")
        end = data.draw(st.integers(0, len(stream)), "end") if breaks else len(stream)
        follower.take(stream[:end])
        for taken in (data.draw(st.integers(0, count), "taken"), count):
            got += [event.id for event in islice(follower.events(), taken)]
    assert got == [f"event-{each}" for each in range(1, count + 1)]


def test_what_is_no_event_is_told_and_what_came_before_it_is_given_out() -> None:
    follower = following()
    follower.take(frame(1, "v1.a") + b"data: []\n\n" + frame(2, "v1.b"))
    events = follower.events()
    assert next(events).id == "event-1"
    with pytest.raises(UnexpectedAnswerError):
        next(events)
    # Behind it the position must not move: it would be left out.
    assert (list(follower.events()), follower.position) == ([], "v1.a")


def test_what_was_half_there_is_forgotten() -> None:
    follower = following()
    follower.take(frame(1)[:50])
    follower.begin()
    assert [event.id for event in given_out(follower, frame(1))] == ["event-1"]


def test_pauses_grow_until_something_comes() -> None:
    follower = following()
    pauses = [follower.lost(BROKEN, 0.0, RETRIES, lambda: 1.0) for _ in range(3)]
    follower.take(b": \n\n")
    assert [*pauses, follower.lost(BROKEN, 0.0, RETRIES, lambda: 1.0)] == [0.1, 0.2, 0.4, 0.1]


def test_after_an_end_in_good_order_it_waits_as_the_service_says() -> None:
    follower = following()
    given_out(follower, b"retry: 1500\n\n")
    assert follower.lost(None, 0.0, RETRIES, lambda: 0.0) == 1.5


def test_it_goes_on_for_ever_unless_told_otherwise() -> None:
    follower = following()
    follower.lost(BROKEN, 0.0, RETRIES, lambda: 1.0)
    follower.lost(BROKEN, 1e9, RETRIES, lambda: 1.0)
    patient = following(timeout_seconds=10)
    patient.lost(BROKEN, 100.0, RETRIES, lambda: 1.0)
    with pytest.raises(UnavailableError):
        patient.lost(BROKEN, 110.0, RETRIES, lambda: 1.0)


def test_what_no_attempt_mends_is_raised() -> None:
    with pytest.raises(PositionGoneError):
        following().lost(PositionGoneError("gone"), 0.0, RETRIES, lambda: 1.0)
