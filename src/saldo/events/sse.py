"""The wire format of server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import Sequence

from saldo.events.event import Event


def format_frame(event: Event) -> bytes:
    """Return the frame of an event without an id. The data is one line, because the JSON contains no line breaks."""
    return b"event: %s\ndata: %s\n\n" % (event.type.encode(), event.body)


def join_frames(frames: Sequence[bytes], identity: str) -> bytes:
    """Return the frames as one payload. Only the last frame has the id, because a client that has read the last frame
    has read all."""
    return b"".join((*frames[:-1], b"id: ", identity.encode(), b"\n", frames[-1]))


def format_position_frame(identity: str) -> bytes:
    """Return a frame without an event that sets the client's id. Its comment serves as a heartbeat."""
    return b": \nid: %s\n\n" % identity.encode()


def format_comment(text: str) -> bytes:
    """Return a comment, which clients ignore."""
    return b": %s\n\n" % text.encode()


def format_retry(milliseconds: int) -> bytes:
    """Return the frame that sets the time after which a client reconnects."""
    return b"retry: %d\n\n" % milliseconds
