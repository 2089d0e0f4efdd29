"""Saying no while more transactions come than are decided: early, cheaply, and at once.

At three times what the service can hold, two of three requests are refused; if a refusal cost a quarter of an answer,
little time would be left for answers. So a POST of one transaction that is too many is not read: it has come
whole, in one piece (the parser says so, without telling what is in it), and gets an answer that is made but for its
id. All else, and what comes in several pieces, goes the way of every request, and is refused by the engine.

What is not read is not judged: such a request may also be wrong, or nobody's who is let in. Nothing of it is recorded.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import sys
from functools import cache
from typing import Final, NamedTuple

import httptools

from saldo.engine.engine import Engine
from saldo.engine.errors import QueueFullError
from saldo.http import problems
from saldo.http.pages import NO_STORE
from saldo.http.refusals import Refusals
from saldo.http.sending import count_answered, request_id_of
from saldo.observability.metrics import SHED

PATH: Final = "/v1/transaction"
FIRST_LINE: Final = f"POST {PATH} HTTP/1.1\r\n".encode()

READ_AT_ONCE_MAX: Final = 1024
"""Requests that one turn of the loop reads, about: with more room than that, what is read need not be counted."""

BACKLOG_SHARE: Final = 0.3
"""Of the wait that is bounded: the rest is the queue's. A backlog is of no use to anybody, a queue fills batches."""

LOOK_SECONDS: Final = 0.01
"""Between two looks at how long what is read has waited: one system call."""

OLD_LOOKS: Final = 5
"""In a row that find what is read too old before less is let in: one slow turn is no backlog."""

SHARE_MIN: Final = 0.1
SHARE_FALLS: Final = 0.95
SHARE_RISES: Final = 0.01
SHARE_RISES_FRESH: Final = 0.05
"""At each look. A change is felt only after what waits already: small steps, that do not overshoot by much."""

HEADS_MAX: Final = 1000
"""Heads that are known: a client sends the same again and again, but for the length of the body."""

TELL_SECONDS: Final = 0.1
"""Between two counts of what was refused: to count each by itself costs as much as to refuse it."""

_REQUEST_ID: Final = re.compile(rb"\r\nx-request-id:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)
_END: Final = b"\r\n\r\n"

Headers = list[tuple[bytes, bytes]]


class Backlog:
    """What has come and is not read yet: the loop is behind, though the engine may not be.

    Then only a share is let in, less by and by while what is read is old, and more when it is fresh again.

    Attributes:
        share: of what comes, from `SHARE_MIN` to 1.
    """

    __slots__ = ("_credit", "_old_looks", "_seconds_max", "share")

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._credit = 0.0
        self._old_looks = 0
        self.share = 1.0

    def look(self, late_seconds: float) -> None:
        """What is read now has waited for so long."""
        if late_seconds > self._seconds_max:
            self._old_looks += 1
            if self._old_looks > OLD_LOOKS:
                self.share = max(self.share * SHARE_FALLS, SHARE_MIN)
        else:
            self._old_looks = 0
            fresh = late_seconds < self._seconds_max / 4
            self.share = min(self.share + (SHARE_RISES_FRESH if fresh else SHARE_RISES), 1.0)

    def lets_in(self) -> bool:
        """Whether the next one is of that share."""
        self._credit += self.share
        if self._credit < 1:
            return False
        self._credit -= 1
        return True


class _Head(NamedTuple):
    """What the parser says of a head and the body after it, read once."""

    whole_bytes: int
    """Of the head and its body."""
    closes: bool
    request_id: str | None


class Shedding:
    """Tells whether a transaction more is too many, and refuses it.

    Attributes:
        closes: whether the connection of the request refused last ends with its answer.
        draining: whether each answer is the last of its connection.
        refusals: on their way out.
    """

    def __init__(self, engine: Engine, wait_seconds_max: float) -> None:
        self._engine = engine
        self._backlog = Backlog(wait_seconds_max * BACKLOG_SHARE)
        self._look_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self.refusals = Refusals(self._loop)
        self._read = 0
        self._count = 0
        self._heads: dict[bytes, _Head] = {}
        self._made_of: Headers | None = None
        self._begins: tuple[bytes, bytes] = (b"", b"")
        self.closes = False
        self.draining = False

    def full(self, data: bytes, transport: asyncio.Transport) -> bool:
        """Whether what is read now is a transaction too many. Asked for all that is read of a connection at a time."""
        # The same for all of a turn, so the first of it is looked at: it waits longest.
        now = self._now()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._backlog.look(_late_seconds(transport))
        room = self._engine.room
        keeps_up = self._backlog.share >= 1
        if (room > READ_AT_ONCE_MAX and keeps_up) or not data.startswith(FIRST_LINE):
            return False
        if not keeps_up and not self._backlog.lets_in():
            return True
        # The engine hears of what is read in this turn of the loop in the next one only.
        read = self._read
        if not read:
            self._loop.call_soon(self._turn)
        self._read = read + 1
        return read >= room

    def refuse(self, data: bytes, default_headers: Headers) -> bytes | None:
        """The answer, if what came is one whole request (a POST of a transaction: `full` has seen to it).

        Args:
            default_headers: the server's own; another list when one of them has changed (the date).
        """
        end = data.find(_END) + len(_END)
        head = self._heads.get(data[:end]) or self._looked_at(data, end)
        if head is None or head.whole_bytes != len(data):
            return None
        if not self._count:
            self._loop.call_later(TELL_SECONDS, self._tell)
        self._count += 1
        if default_headers is not self._made_of:
            self._made_of = default_headers
            self._begins = _begin(default_headers), _begin([*default_headers, _CLOSE])
        self.closes = head.closes or self.draining
        request_id = (head.request_id or request_id_of(None)).encode()
        # The id as the head's last line, and as the body's last field.
        return b"".join(
            (
                self._begins[self.closes],
                _length(len(request_id)),
                request_id,
                _BODY,
                request_id,
                _BODY_END,
            )
        )

    def _looked_at(self, data: bytes, end: int) -> _Head | None:
        """What is to be known of a head that is new, if it is one that can be refused like this."""
        if end < len(_END):
            return None
        seen = _Seen()
        parser = seen.parser = httptools.HttpRequestParser(seen)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        if not seen.is_one_request:
            return None
        given = _REQUEST_ID.search(data[:end])
        request_id = None if given is None else request_id_of(given[1])
        head = _Head(len(data), seen.closes, request_id)
        if given is None and not seen.chunked:
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            self._heads[data[:end]] = head
        return head

    def _turn(self) -> None:
        self._read = 0

    def _tell(self) -> None:
        count_answered("POST", PATH, 503, self._count)
        SHED.inc(self._count)
        self._count = 0


class _Seen:
    """Takes what the parser finds in bytes that may be one request."""

    parser: httptools.HttpRequestParser

    def __init__(self) -> None:
        self.chunked = self.closes = False
        self._begun = self._whole = 0

    @property
    def is_one_request(self) -> bool:
        return self._begun == 1 == self._whole

    def on_message_begin(self) -> None:
        self._begun += 1

    def on_chunk_header(self) -> None:
        self.chunked = True

    def on_message_complete(self) -> None:
        self._whole += 1
        # Only now does the parser know: it is reset for the next one.
        self.closes = not self.parser.should_keep_alive()


_LAST_DATA_RECEIVED: Final = 52
_TCP_INFO_BYTES: Final = 56
"""Of `struct tcp_info` (linux/tcp.h): the place of `tcpi_last_data_recv`, milliseconds, and all up to its end."""

_CLOSE: Final = (b"connection", b"close")
_NO_ID: Final = b"@"
_ANSWER: Final = problems.not_decided(QueueFullError()).answer(_NO_ID.decode())
_BODY, _BODY_END = (_END + _ANSWER.body).split(_NO_ID)


def _begin(default_headers: Headers) -> bytes:
    """The answer up to its length."""
    headers = [
        *default_headers,
        NO_STORE,
        (b"content-type", _ANSWER.media_type.encode()),
        *((name.encode(), value.encode()) for name, value in _ANSWER.headers),
    ]
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    return b"HTTP/1.1 503 Service Unavailable\r\n" + lines


def _late_seconds(transport: asyncio.Transport) -> float:
    """How long the newest bytes of a connection have waited in the kernel; 0 where it doesn't tell."""
    if sys.platform != "linux":
        return 0.0
    connection = transport.get_extra_info("socket")
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    (milliseconds,) = struct.unpack_from("=I", told, _LAST_DATA_RECEIVED)
    return float(milliseconds / 1000)


@cache
def _length(id_bytes: int) -> bytes:
    """The lines from the length to the id."""
    length = len(_ANSWER.body) - len(_NO_ID) + id_bytes
    return b"content-length: %d\r\nx-request-id: " % length
