"""Requests that no schema describes: valid ones whose bytes, framing, path or headers are damaged.

They are sent over sockets unchanged. Every answer must be documented for its request, must not be a 5xx, and must
reveal no internals. Requests that are no longer HTTP may be answered with 400 or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import socket
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID, uuid4

import httptools
import httpx
import jsonschema_rs

from harness import request_bodies
from harness.openapi_document import Document
from saldo.http.connection.header_checks import is_ambiguous_path

CONNECTIONS: Final = 4

ANSWER_SECONDS_MAX: Final = 30.0

INTERNALS: Final = (
    b"Traceback",
    b"site-packages",
    b"asyncpg",
    b"saldo.transactions",
    b"SELECT ",
    b".py",
)
"""Internals that an answer must not contain."""

TRICKS: Final = (
    *(
        "",
        ".",
        "..",
        "%2e%2e",
        "%2E%2E%2F",
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "%ff",
        "%c0%ae",
        "1%00",
    ),
    *("1'--", "1;DROP TABLE users", "%25", "%", "1/", "//", "\\", "1%0d%0aX: y", "٣", "9" * 31),
    *(
        "9223372036854775807",
        "9223372036854775808",
        "-1",
        "0x1",
        "1e3",
        "null",
        "{{7*7}}",
        "${7*7}",
    ),
    *("00000000-0000-0000-0000-000000000000", "a" * 5000, "%F0%9F%92%A9", "+", " ", "*", "[1]"),
)

VALUES: Final = (
    *(
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b"0",
        b"-1",
        b"1e400",
        b"-0.0",
        b"NaN",
        b"Infinity",
        b"1.",
        b"01",
    ),
    *(b'"\\u0000"', b'"\\ud800"', b'"\xff"', b'"' + b"9" * 5000 + b'"', b"9" * 5000, b"[" * 3000),
    *(
        b'{"a":' * 3000,
        b'"2023-10-30T00:00:00.00000000"',
        b'"0001-01-01"',
        b'"9999-12-31T23:59:59-23:59"',
    ),
    *(
        b'"100.001"',
        b'"1e2"',
        '"١٠"'.encode(),
        b'"10000000000000.01"',
        b'"DEPOSIT "',
        b'"withdraw"',
    ),
)

HEADERS: Final = (
    *(
        (b"content-type", value)
        for value in (b"text/xml", b"application/json; charset=utf-16", b"\xff", b"")
    ),
    *((b"content-type", b"a" * 3000), (b"content-encoding", b"gzip"), (b"expect", b"100-continue")),
    *((b"accept", value) for value in (b"*/*", b"application/json", b"text/event-stream", b";;;,")),
    *((b"idempotency-key", value) for value in (b"", b"x", b"\xe9", b"a" * 4000)),
    *((b"last-event-id", value) for value in (b"", b"v1.AAAA", b"\xff" * 300)),
    *((b"x-request-id", value) for value in (b"", b"a" * 3000, b"\x80", b"<script>", b"a b")),
    *((b"traceparent", value) for value in (b"00-0-0-00", b"", b"ff" * 400)),
    *(
        (b"transfer-encoding", value)
        for value in (b"identity", b"gzip, chunked", b"chunked, chunked")
    ),
    *((b"host", b"evil.example"), (b"x-forwarded-for", b"127.0.0.1"), (b"upgrade", b"websocket")),
    *((b"x-http-method-override", b"DELETE"), (b"range", b"bytes=0-0"), (b"cookie", b"a=b;" * 500)),
)


PACKED_SPACE: Final = gzip.compress(b" " * 10_000_000)
"""A gzip body that exceeds every limit when it is unpacked."""


@dataclass(frozen=True)
class RawRequest:
    """A request. `sound`: whether it is valid HTTP, so that there must be an answer."""

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    chunks: tuple[int, ...] = ()
    sound: bool = True
    raw: bytes | None = None

    def encode(self, host: bytes) -> bytes:
        """Return the bytes to send."""
        if self.raw is not None:
            return self.raw
        head = [f"{self.method} {self.path} HTTP/1.1".encode("utf-8", "surrogateescape")]
        if not any(name == b"host" for name, _ in self.headers):
            head.append(b"host: " + host)
        head += [name + b": " + value for name, value in self.headers]
        body = self.body
        if self.chunks:
            head.append(b"transfer-encoding: chunked")
            body = _encode_chunks(self.body, self.chunks)
        elif body or self.method in {"POST", "PATCH", "PUT"}:
            head.append(b"content-length: %d" % len(body))
        return b"\r\n".join(head) + b"\r\n\r\n" + body


@dataclass
class Answer:
    """A parsed answer."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


class FaultError(AssertionError):
    """An answer that is not allowed."""


@dataclass
class ExistingIds:
    """Existing ids, for use in requests."""

    users: list[int]
    webhooks: list[int]
    uuids: list[str]
    cursors: list[str]


class Mutations:
    """A fuzzer that sends damaged requests to a service until the time is over."""

    def __init__(self, url: str, seed: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Create a fuzzer and the data that its requests use.

        Args:
            headers: headers of every request, such as a key.
        """
        self._url = url
        self._address = (urlsplit(url).hostname or "", urlsplit(url).port or 80)
        self._host = urlsplit(url).netloc.encode()
        self._headers = headers
        self._random = random.Random(seed)
        with httpx.Client(base_url=url, headers=list(headers), timeout=60) as client:
            self._document = _QuickDocument(client.get("/openapi.json").json())
            self._known = self._create(client)
        self.statuses: Counter[int] = Counter()
        """Number of answers by status; 0 stands for no answer."""

    @property
    def requests(self) -> int:
        return self.statuses.total()

    async def run(self, seconds: float, requests_max: int | None = None) -> None:
        """Send requests until the time is over or `requests_max` is reached.

        Raises:
            FaultError: an answer that is not allowed, with the request that caused it.
        """
        ends_at = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._send_until(ends_at, requests_max))

    async def _send_until(self, ends_at: float, requests_max: int | None) -> None:
        connection: Connection | None = None
        while time.monotonic() < ends_at and (requests_max is None or self.requests < requests_max):
            asked = self.generate()
            if connection is None:
                connection = await asyncio.open_connection(*self._address)
            if not await self._ask(asked, *connection):
                await _close(connection)
                connection = None
        if connection is not None:
            await _close(connection)

    async def _ask(
        self, asked: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Send one request and check its answer; return whether the connection can be used again."""
        data = asked.encode(self._host)
        answer = Answer()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                writer.write(data)
                if not asked.sound:
                    writer.write_eof()
                await _receive(reader, answer, head=asked.method == "HEAD")
        except TimeoutError:
            raise self._fault("no answer in time", asked, data, answer) from None
        except (OSError, httptools.HttpParserError):
            pass
        self.statuses[answer.status] += 1
        try:
            self._check(asked, answer)
        except AssertionError as error:
            raise self._fault(str(error), asked, data, answer) from error
        closing = any(
            name == "connection" and "close" in value.lower() for name, value in answer.headers
        )
        return asked.sound and answer.complete and not closing

    def _check(self, asked: RawRequest, answer: Answer) -> None:
        if answer.status == 0:
            assert not asked.sound, "no answer"
            return
        assert answer.status < 500, "a fault of the service"
        for word in INTERNALS:
            assert word not in answer.body or word in asked.encode(b""), word
        if asked.body and asked.path.startswith("/v1/"):
            streamed = request_bodies.LINES_TYPE.encode() in dict(asked.headers).values()
            most = request_bodies.answer_bytes_max(asked.path, len(asked.body), lines=streamed)
            assert len(answer.body) <= most, "an answer that is much larger than the request"
        names = {name for name, _ in answer.headers}
        assert "server" not in names, "a server banner"
        if asked.method in {"HEAD", "OPTIONS"} or answer.status == 204 or asked.path == "/metrics":
            return
        # The path is used as it was sent, because httpx would normalize it.
        request = httpx.Request(asked.method, self._url, extensions={"asked": asked})
        response = httpx.Response(
            answer.status, headers=answer.headers, content=bytes(answer.body), request=request
        )
        self._document.check(response)

    def _fault(self, what: str, asked: RawRequest, data: bytes, answer: Answer) -> FaultError:
        again = urlsafe_b64encode(data).decode()
        return FaultError(
            f"{what}: {asked.method} {asked.path[:200]} was answered {answer.status} "
            f"{bytes(answer.body)[:500]!r}. Again: python -m tests.fuzz.mutations URL {again}"
        )

    def _create(self, client: httpx.Client) -> ExistingIds:
        """Create users, transactions and webhooks, and get the cursors of their lists."""
        users, webhooks, uuids = [], [], []
        for _ in range(4):
            name = f"fuzzed {uuid4()}"
            users.append(client.post("/v1/user", json={"name": name}).json()["id"])
            for _ in range(3):
                uuids.append(str(uuid4()))
                fields = {"uuid": uuids[-1], "type": "DEPOSIT", "amount": "5", "user_id": users[-1]}
                assert client.post("/v1/transaction", json=fields).status_code == 200
            hook = client.post("/v1/webhook", json={"url": "https://example.invalid/"})
            if hook.status_code == 201:
                webhooks.append(hook.json()["id"])
        pages = [
            "/v1/user?limit=1",
            "/v1/webhook?limit=1",
            *(f"/v1/user/{user}/transactions?limit=1" for user in users),
        ]
        cursors = [client.get(page).json()["next_cursor"] for page in pages]
        return ExistingIds(users, webhooks or [1], uuids, [cursor for cursor in cursors if cursor])

    def _uuid(self) -> str:
        return str(UUID(int=self._random.getrandbits(128) | 1))

    # --- what is sent ---------------------------------------------------------------------------

    def generate(self) -> RawRequest:
        """Return a valid request with up to three damages."""
        asked = self._good()
        asked = replace(asked, headers=(*self._headers, *asked.headers))
        for _ in range(self._random.choice((0, 1, 1, 1, 2, 3))):
            asked = self._random.choice(_SPOILERS)(self, asked)
            if asked.raw is not None:
                break
        return asked

    def _good(self) -> RawRequest:
        choose, known = self._random.choice, self._known
        user, uuid = choose(known.users), choose(known.uuids)
        hook, cursor = choose(known.webhooks), choose(known.cursors)
        json_type = ((b"content-type", b"application/json"),)
        date = quote(choose(("2023-10-30", "2026-01-01T00:00:00Z", "2200-12-31T23:59:59.9+03:00")))
        match self._random.randrange(14):
            case 0 | 1 | 2:
                return RawRequest("POST", "/v1/transaction", json_type, self._transaction())
            case 3:
                items = b",".join(self._transaction() for _ in range(self._random.randrange(4)))
                path = choose(("/v1/transactions", "/v1/transactions?atomic=true"))
                return RawRequest("POST", path, json_type, b"[" + items + b"]")
            case 4:
                lines = [self._transaction() for _ in range(self._random.randrange(1, 20))]
                headers = ((b"content-type", b"application/x-ndjson"),)
                body = b"\n".join(lines)
                chunks = tuple(self._random.randrange(1, 300) for _ in range(5))
                return RawRequest("POST", "/v1/transactions", headers, body, chunks)
            case 5:
                user_name = f"{choose('abcdefgh')}{self._random.random()}"
                body = json.dumps({"name": user_name}).encode()
                return RawRequest("POST", "/v1/user", json_type, body)
            case 6:
                paths = (f"/v1/user/{user}", f"/v1/user/{user}/balance", f"/v1/transaction/{uuid}")
                return RawRequest("GET", choose(paths))
            case 7:
                name = choose(("date", "before", "known_at"))
                return RawRequest("GET", f"/v1/user/{user}/balance?{name}={date}")
            case 8:
                query = f"limit={self._random.randrange(1, 5)}&cursor={cursor}&from={date}"
                return RawRequest("GET", f"/v1/user/{user}/transactions?{query}")
            case 9:
                path = choose(("user", "webhook", f"webhook/{hook}/deliveries"))
                return RawRequest("GET", f"/v1/{path}?limit=2&cursor={cursor}")
            case 10:
                fields = choose(({"enabled": False}, {"user_ids": [user]}, {"event_types": None}))
                body = json.dumps(fields).encode()
                return RawRequest("PATCH", f"/v1/webhook/{hook}", json_type, body)
            case 11:
                path = f"/v1/webhook/{hook}/deliveries/replay"
                return RawRequest("POST", path, json_type, json.dumps({"event_id": uuid}).encode())
            case 12:
                # The answer has no end, so only requests that are rejected can be tested.
                return RawRequest("GET", "/v1/events?type=nonsense&from=start")
            case _:
                places = (
                    "/healthz/live",
                    "/healthz/ready",
                    "/healthz/startup",
                    "/metrics",
                    "/nope",
                )
                return RawRequest("GET", choose(places))

    def _transaction(self) -> bytes:
        choose = self._random.choice
        fields: dict[str, object] = {
            "uuid": self._uuid() if self._random.random() < 0.7 else choose(self._known.uuids),
            "type": choose(("DEPOSIT", "WITHDRAW")),
            "amount": choose(("1", "100.25", "0.01", "10000000000000.00", 5, 1.5)),
            "user_id": choose((*self._known.users, 2**62)),
        }
        if self._random.random() < 0.4:
            fields["timestamp"] = choose(
                ("2023-10-30T00:00:00.00000000", "2023-10-30T12-30-45", "2024-01-01", None)
            )
        return json.dumps(fields).encode()

    def spoil_bytes(self, asked: RawRequest) -> RawRequest:
        """Change, remove, insert or repeat bytes of the body."""
        body = bytearray(asked.body)
        for _ in range(self._random.randrange(1, 4)):
            at = self._random.randrange(len(body) + 1)
            end = min(len(body), at + self._random.randrange(1, 9))
            match self._random.randrange(4):
                case 0:
                    body[at:end] = self._random.randbytes(end - at)
                case 1:
                    del body[at:end]
                case 2:
                    body[at:at] = self._random.choice(VALUES)
                case _:
                    body[at:at] = body[at:end] * self._random.randrange(1, 5)
        return replace(asked, body=bytes(body))

    def spoil_value(self, asked: RawRequest) -> RawRequest:
        """Replace a value of the body."""
        parts = asked.body.split(b": ")
        if len(parts) < 2:
            return replace(asked, body=self._random.choice(VALUES))
        at = self._random.randrange(1, len(parts))
        rest = parts[at][parts[at].find(b", ") :] if b", " in parts[at] else b"}"
        parts[at] = self._random.choice(VALUES) + rest
        return replace(asked, body=b": ".join(parts))

    def spoil_path(self, asked: RawRequest) -> RawRequest:
        """Replace a segment of the path by a special one, or add one."""
        path, mark, query = asked.path.partition("?")
        parts = path.split("/")
        at = self._random.randrange(1, len(parts) + 1)
        parts[at : at + self._random.randrange(2)] = [self._trick()]
        spoilt = "/".join(parts)
        # A space ends the path, and what follows is not a valid HTTP version.
        return replace(
            asked, path=f"{spoilt}{mark}{query}", sound=asked.sound and _can_be_sent(spoilt)
        )

    def spoil_query(self, asked: RawRequest) -> RawRequest:
        """Add a query parameter, which may be unknown or repeated."""
        path, _, query = asked.path.partition("?")
        parts = query.split("&") if query else []
        name = self._random.choice(
            ("limit", "cursor", "date", "from", "to", "type", "name", "x", "")
        )
        parts.insert(self._random.randrange(len(parts) + 1), f"{name}={self._trick()}")
        spoilt = f"{path}?{'&'.join(parts)}"
        return replace(asked, path=spoilt, sound=asked.sound and _can_be_sent(spoilt))

    def spoil_method(self, asked: RawRequest) -> RawRequest:
        """Change the method."""
        methods = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
        method = self._random.choice(methods)
        if asked.path.startswith("/v1/webhook/") and method == "DELETE":
            return asked  # the other requests need the webhooks
        return replace(asked, method=method)

    def spoil_header(self, asked: RawRequest) -> RawRequest:
        """Add or replace a header."""
        name, value = self._random.choice(HEADERS)
        headers = tuple(each for each in asked.headers if each[0] != name)
        framing = name in {b"transfer-encoding", b"expect", b"upgrade"}
        return replace(asked, headers=(*headers, (name, value)), sound=asked.sound and not framing)

    def spoil_headers(self, asked: RawRequest) -> RawRequest:
        """Add a large number of headers."""
        count = self._random.choice((50, 500, 3000))
        flood = tuple((b"x-%d" % number, b"y" * 20) for number in range(count))
        return replace(asked, headers=(*asked.headers, *flood), sound=False)

    def spoil_size(self, asked: RawRequest) -> RawRequest:
        """Make the body exceed every limit, whole or in chunks."""
        body = asked.body + b" " * self._random.choice((65_536, 200_000, 2_000_000))
        chunks = self._random.choice(((), (1000,), (65_536,)))
        # A body that is too large is answered before it has been read, and the connection is closed.
        return replace(asked, body=body, chunks=chunks, sound=False)

    def spoil_shape(self, asked: RawRequest) -> RawRequest:
        """Replace the body by one whose shape would make it expensive if shapes were not limited."""
        if not asked.body:
            return asked
        size = self._random.choice((500, 5_000, 60_000))
        made = [*request_bodies.objects(size, self._random.randrange(1000))]
        if asked.path.startswith(request_bodies.BULK_PATH):
            streamed = request_bodies.LINES_TYPE.encode() in dict(asked.headers).values()
            made = [*(request_bodies.lines(size) if streamed else request_bodies.arrays(size))]
        return replace(asked, body=self._random.choice(made)[1])

    def spoil_coding(self, asked: RawRequest) -> RawRequest:
        """Replace the body by one that would be large when it is unpacked."""
        body = gzip.compress(asked.body, 1) + PACKED_SPACE
        return replace(asked, body=body, headers=(*asked.headers, (b"content-encoding", b"gzip")))

    def spoil_chunks(self, asked: RawRequest) -> RawRequest:
        """Send the same body in chunks."""
        sizes = tuple(self._random.randrange(1, 50) for _ in range(self._random.randrange(1, 8)))
        return replace(asked, chunks=sizes)

    def spoil_framing(self, asked: RawRequest) -> RawRequest:
        """Change bytes of the whole request, so that it may no longer be HTTP."""
        data = bytearray(asked.encode(self._host))
        for _ in range(self._random.randrange(1, 4)):
            at = self._random.randrange(min(len(data), 300))
            match self._random.randrange(3):
                case 0:
                    data[at] = self._random.randrange(256)
                case 1:
                    del data[at : at + self._random.randrange(1, 20)]
                case _:
                    data[at:at] = self._random.choice(
                        (b"\r\n", b"\0", b"\n", b"content-length: 5\r\n", b" ", b":", b"\x80")
                    )
        return replace(asked, raw=bytes(data), sound=False)

    def _trick(self) -> str:
        return self._random.choice(TRICKS)


class _QuickDocument(Document):
    """The same checks with a validator that is a hundred times faster."""

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__(content)
        self._quick: dict[str, jsonschema_rs.Draft202012Validator] = {}

    def _documented_answers(self, response: httpx.Response) -> dict[str, Any] | None:
        asked: RawRequest = response.request.extensions["asked"]
        if not asked.sound:
            return None
        sent = asked.path.partition("?")[0]
        if is_ambiguous_path(sent.encode()):
            return None  # nothing exists at an ambiguous path
        path = unquote(sent)
        for pattern, template in self._paths.items():
            operation = self.content["paths"][template].get(asked.method.lower())
            if pattern.fullmatch(path) and operation is not None:
                answers: dict[str, Any] = operation["responses"]
                return answers
        return None

    def errors_of(self, schema: dict[str, Any], value: object) -> list[str]:
        key = json.dumps(schema)
        if key not in self._quick:
            whole = {**schema, "components": self.content["components"]}
            self._quick[key] = jsonschema_rs.Draft202012Validator(whole)
        found = [error.message for error in self._quick[key].iter_errors(value)]
        properties = self._properties(schema)
        if properties and isinstance(value, dict):
            found += [f"{name} is not documented" for name in value if name not in properties]
        return found


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

Spoiler = Callable[[Mutations, RawRequest], RawRequest]

_SPOILERS: Final[tuple[Spoiler, ...]] = (
    *(Mutations.spoil_bytes, Mutations.spoil_bytes, Mutations.spoil_value, Mutations.spoil_value),
    *(Mutations.spoil_path, Mutations.spoil_path, Mutations.spoil_query, Mutations.spoil_query),
    *(Mutations.spoil_method, Mutations.spoil_header, Mutations.spoil_header),
    *(Mutations.spoil_headers, Mutations.spoil_size, Mutations.spoil_coding),
    Mutations.spoil_shape,
    *(Mutations.spoil_chunks, Mutations.spoil_framing),
)


def _can_be_sent(path: str) -> bool:
    return path.isascii() and path.isprintable() and " " not in path


def _encode_chunks(body: bytes, sizes: tuple[int, ...]) -> bytes:
    """Return the body in chunks of these sizes, which repeat."""
    pieces, begin, turn = [], 0, 0
    while begin < len(body):
        piece = body[begin : begin + sizes[turn % len(sizes)]]
        pieces.append(b"%x\r\n%s\r\n" % (len(piece), piece))
        begin += len(piece)
        turn += 1
    return b"".join(pieces) + b"0\r\n\r\n"


async def _close(connection: Connection) -> None:
    connection[1].close()
    with contextlib.suppress(OSError):
        await connection[1].wait_closed()


async def _receive(reader: asyncio.StreamReader, answer: Answer, *, head: bool) -> None:
    """Read one answer, skipping interim ones."""
    parser = httptools.HttpResponseParser(answer)
    while not answer.complete:
        data = await reader.read(65_536)
        if not data:
            return
        parser.feed_data(data)
        answer.status = parser.get_status_code()
        if head and answer.headers:
            answer.complete = True
        if answer.complete and answer.status == 100:
            answer.__init__()  # type: ignore[misc]
            parser = httptools.HttpResponseParser(answer)


def _again(url: str, data: bytes) -> bytes:
    """Send bytes unchanged and return the whole answer."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=10) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        received = bytearray()
        while piece := client.recv(65_536):
            received += piece
        return bytes(received)


if __name__ == "__main__":
    print(_again(sys.argv[1], urlsafe_b64decode(sys.argv[2])).decode("utf-8", "backslashreplace"))
