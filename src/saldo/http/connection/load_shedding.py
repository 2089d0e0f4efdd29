"""Load shedding: excess transactions are rejected early and cheaply, before they are read.

At three times the capacity of the service, two of three requests are rejected. If a rejection cost a quarter of a
processed request, little time would be left for processing. Therefore an excess POST of one transaction is not read if
it has arrived whole and in one piece. The parser only determines where the request ends, and the response is prepared
in advance except for the request's id. All other excess requests are read, and the engine rejects them.

A request that is not read is not checked either, so it may also be invalid or unauthenticated. Nothing is recorded.
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

from saldo.engine.admission import AdmissionLimit
from saldo.engine.errors import QueueFullError
from saldo.http import problems
from saldo.http.connection.rejection_writer import RejectionWriter
from saldo.http.raw_responses import accept_or_create_request_id, count_responses
from saldo.http.security_headers import NO_STORE
from saldo.observability.metrics import SHED

PATH: Final = "/v1/transaction"
FIRST_LINE: Final = f"POST {PATH} HTTP/1.1\r\n".encode()

READ_AT_ONCE_MAX: Final = 1024
"""Approximate maximum number of requests that are read in one iteration of the event loop. Requests need not be counted
while the engine admits more than this number."""

BACKLOG_SHARE: Final = 0.3
"""Fraction of the maximum wait that data may spend unread. The rest of the wait is for the engine's queue. Requests
that wait there fill batches, while a backlog of unread data has no benefit."""

SAMPLE_INTERVAL_SECONDS: Final = 0.01
"""Minimum interval between two samples of the time that data has waited unread, in seconds. A sample costs one
system call."""

LATE_SAMPLES_MIN: Final = 5
"""Number of consecutive late samples that do not lower the share yet. Further ones lower it. A single slow iteration is
not a backlog."""

SHARE_MIN: Final = 0.1
SHARE_DECAY: Final = 0.95
SHARE_STEP: Final = 0.01
SHARE_STEP_FAST: Final = 0.05
"""Increase of the share at a sample below a quarter of the maximum wait.

Other samples below the maximum wait add `SHARE_STEP`, and samples above it multiply the share by `SHARE_DECAY`. A
change has no effect on data that waits already, so the steps are small in order to overshoot little.
"""

HEAD_BYTES_KEPT_MAX: Final = 2048
"""Maximum length of a cached head in bytes. Heads of normal clients are below a kilobyte. A longer head is parsed every
time."""

HEADS_BYTES_MAX: Final = 1024 * 1024
"""Maximum size of all cached heads in bytes. Heads repeat, because a client sends the same head with every body of the
same length. The limit is needed because clients are not authenticated at this point."""

COUNT_INTERVAL_SECONDS: Final = 0.1
"""Interval between two updates of the metrics in seconds. To count each rejection separately would cost as
much as the rejection."""

_REQUEST_ID: Final = re.compile(rb"\r\nx-request-id:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)
_END: Final = b"\r\n\r\n"

Headers = list[tuple[bytes, bytes]]


class AcceptRatio:
    """Decides which share of the requests to admit while received data waits unread, because the event loop is behind.

    The engine may have capacity at the same time. The share falls step by step while data is read late, and rises again
    when data is read early.

    Attributes:
        share: Fraction of the requests to admit, from `SHARE_MIN` to 1.
    """

    __slots__ = ("_credit", "_late_samples", "_seconds_max", "share")

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._credit = 0.0
        self._late_samples = 0
        self.share = 1.0

    def observe(self, late_seconds: float) -> None:
        """Adjust the share to a sample. `late_seconds` is how long the data that is being read has waited."""
        if late_seconds > self._seconds_max:
            self._late_samples += 1
            if self._late_samples > LATE_SAMPLES_MIN:
                self.share = max(self.share * SHARE_DECAY, SHARE_MIN)
        else:
            self._late_samples = 0
            is_early = late_seconds < self._seconds_max / 4
            self.share = min(self.share + (SHARE_STEP_FAST if is_early else SHARE_STEP), 1.0)

    def try_accept(self) -> bool:
        """Return whether the next request is admitted."""
        self._credit += self.share
        if self._credit < 1:
            return False
        self._credit -= 1
        return True


class _RequestHead(NamedTuple):
    """Properties of a request that are found by parsing it, and cached for later requests with the same head."""

    total_bytes: int
    """The length of head and body together."""
    closes_connection: bool
    request_id: str | None


class LoadShedder:
    """Decides whether a transaction is rejected because of overload, and builds the rejection.

    Attributes:
        closes_connection: Whether the connection of the latest rejected request is closed after the rejection.
        is_draining: Whether each connection is closed after its next response, because the service will stop.
        rejections: Rejections that are not written yet.
    """

    def __init__(
        self, admission: AdmissionLimit, wait_seconds_max: float, head_bytes_max: int
    ) -> None:
        """
        Args:
            admission: The limit that the engine applies to single requests.
            wait_seconds_max: Maximum time in seconds that a single request may wait.
            head_bytes_max: Maximum length of a head in bytes. A request with a longer head is parsed, and the protocol
                rejects it.
        """
        self._admission = admission
        self._head_bytes_max = head_bytes_max
        self._backlog = AcceptRatio(wait_seconds_max * BACKLOG_SHARE)
        self._sample_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self.rejections = RejectionWriter(self._loop)
        self._read_count = 0
        self._rejection_count = 0
        self._heads: dict[bytes, _RequestHead] = {}
        self.heads_bytes = 0
        """The size of all cached heads."""
        self._default_headers: Headers | None = None
        self._response_begins: tuple[bytes, bytes] = (b"", b"")
        self.closes_connection = False
        self.is_draining = False

    def should_shed(self, data: bytes, transport: asyncio.Transport) -> bool:
        """Return whether the data begins an excess transaction. Called for each piece of data that is read."""
        # The loop's time is constant in an iteration, so only the iteration's first read is sampled. Its data has
        # waited longest.
        now = self._now()
        if now >= self._sample_at:
            self._sample_at = now + SAMPLE_INTERVAL_SECONDS
            self._backlog.observe(_get_unread_seconds(transport))
        if not data.startswith(FIRST_LINE):
            return False
        available = self._admission.admissible_requests
        is_keeping_up = self._backlog.share >= 1
        if available > READ_AT_ONCE_MAX and is_keeping_up:
            return False
        if not is_keeping_up and not self._backlog.try_accept():
            return True
        # Requests that are read in this iteration of the loop reach the engine in the next one, so they are counted
        # here.
        read_count = self._read_count
        if not read_count:
            self._loop.call_soon(self._begin_iteration)
        self._read_count = read_count + 1
        return read_count >= available

    def build_rejection(self, data: bytes, default_headers: Headers) -> bytes | None:
        """Return the rejection if the data is exactly one request, or else None.

        Args:
            data: The beginning of a POST of one transaction, as `should_shed` has checked.
            default_headers: The server's own headers. The server replaces the list when a header (the date) changes.
        """
        end = data.find(_END, 0, self._head_bytes_max) + len(_END)
        head = self._heads.get(data[:end]) or self._parse_head(data, end)
        if head is None or head.total_bytes != len(data):
            return None
        if not self._rejection_count:
            self._loop.call_later(COUNT_INTERVAL_SECONDS, self._flush_counts)
        self._rejection_count += 1
        if default_headers is not self._default_headers:
            self._default_headers = default_headers
            self._response_begins = (
                _build_response_begin(default_headers),
                _build_response_begin([*default_headers, _CLOSE]),
            )
        self.closes_connection = head.closes_connection or self.is_draining
        request_id = (head.request_id or accept_or_create_request_id(None)).encode()
        # The id is the last line of the head, and the last field of the body.
        return b"".join(
            (
                self._response_begins[self.closes_connection],
                _build_length_lines(len(request_id)),
                request_id,
                _BODY,
                request_id,
                _BODY_END,
            )
        )

    def _parse_head(self, data: bytes, end: int) -> _RequestHead | None:
        """Parse a head that is not cached. Return None if its request can't be rejected unread."""
        if end < len(_END):
            return None
        probe = _SingleRequestCheck()
        parser = probe.parser = httptools.HttpRequestParser(probe)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        if not probe.is_one_request:
            return None
        match = _REQUEST_ID.search(data[:end])
        request_id = None if match is None else accept_or_create_request_id(match[1])
        head = _RequestHead(len(data), probe.closes_connection, request_id)
        if match is None and not probe.is_chunked and end <= HEAD_BYTES_KEPT_MAX:
            self._cache_head(data[:end], head)
        return head

    def _cache_head(self, data: bytes, head: _RequestHead) -> None:
        if self.heads_bytes + len(data) > HEADS_BYTES_MAX:
            self._heads.clear()
            self.heads_bytes = 0
        self._heads[data] = head
        self.heads_bytes += len(data)

    def _begin_iteration(self) -> None:
        self._read_count = 0

    def _flush_counts(self) -> None:
        count_responses("POST", PATH, 503, self._rejection_count)
        SHED.inc(self._rejection_count)
        self._rejection_count = 0


class _SingleRequestCheck:
    """Callbacks of the parser that determine whether bytes are exactly one request."""

    parser: httptools.HttpRequestParser

    def __init__(self) -> None:
        self.is_chunked = self.closes_connection = False
        self._begun_count = self._complete_count = 0

    @property
    def is_one_request(self) -> bool:
        return self._begun_count == 1 == self._complete_count

    def on_message_begin(self) -> None:
        self._begun_count += 1

    def on_chunk_header(self) -> None:
        self.is_chunked = True

    def on_message_complete(self) -> None:
        self._complete_count += 1
        # The parser knows this only now, before it is reset for the next request.
        self.closes_connection = not self.parser.should_keep_alive()


_LAST_DATA_RECEIVED: Final = 52
_TCP_INFO_BYTES: Final = 56
"""Length of `struct tcp_info` (linux/tcp.h) up to the end of `tcpi_last_data_recv`, a number of milliseconds."""

_CLOSE: Final = (b"connection", b"close")
_NO_ID: Final = b"@"
_RESPONSE: Final = problems.convert_engine_error(QueueFullError()).build_response(_NO_ID.decode())
_BODY, _BODY_END = (_END + _RESPONSE.body).split(_NO_ID)


def _build_response_begin(default_headers: Headers) -> bytes:
    """Return the first part of a rejection, up to the header `content-length`."""
    headers = [
        *default_headers,
        NO_STORE,
        (b"content-type", _RESPONSE.media_type.encode()),
        *((name.encode(), value.encode()) for name, value in _RESPONSE.headers),
    ]
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    return b"HTTP/1.1 503 Service Unavailable\r\n" + lines


def _get_unread_seconds(transport: asyncio.Transport) -> float:
    """Return the seconds that the newest bytes of a connection have waited in the kernel; 0 on systems that do not
    report it."""
    if sys.platform != "linux":
        return 0.0
    connection = transport.get_extra_info("socket")
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    (milliseconds,) = struct.unpack_from("=I", info, _LAST_DATA_RECEIVED)
    return float(milliseconds / 1000)


@cache
def _build_length_lines(id_bytes: int) -> bytes:
    """Return the lines of the headers `content-length` and `x-request-id`, up to the id."""
    length = len(_RESPONSE.body) - len(_NO_ID) + id_bytes
    return b"content-length: %d\r\nx-request-id: " % length
