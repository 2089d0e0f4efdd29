"""Server-sent events as they go over the wire (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import Sequence

from saldo.relay.events import Event


def frame(event: Event) -> bytes:
    """One event. JSON has no line breaks, so it is one line."""
    return b"event: %s\ndata: %s\n\n" % (event.type.encode(), event.body)


def joined(frames: Sequence[bytes], identity: str) -> bytes:
    """Events of which the last carries the id: the client has seen everything up to it when it has seen that one."""
    return b"".join((*frames[:-1], b"id: ", identity.encode(), b"\n", frames[-1]))


def mark(identity: str) -> bytes:
    """No event, only the id to resume with. The comment makes it a sign of life, too."""
    return b": \nid: %s\n\n" % identity.encode()


def comment(text: str) -> bytes:
    """A remark that clients pass over."""
    return b": %s\n\n" % text.encode()


def retry(milliseconds: int) -> bytes:
    """How long a client waits before it connects again."""
    return b"retry: %d\n\n" % milliseconds
