"""Small bodies whose shape would make parsing or answering expensive if nothing were limited."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

LINES_TYPE: Final = "application/x-ndjson"
BULK_PATH: Final = "/v1/transactions"

ONE_ANSWER_BYTES_MAX: Final = 16 * 1024
"""Maximum size of the answer to one object, in bytes.

The largest answer contains twenty faults, whose names have 100 characters of four bytes each, and repeats the first
fault.
"""

LINE_FACTOR_MAX: Final = 320
"""Maximum size of the answer to a line or an item, as a multiple of its size. The maximum occurs for `{}`, whose answer
lists four missing fields."""

ARRAY_ANSWER_BYTES_MAX: Final = 3 * 1024 * 1024
"""Maximum size of the answer to an array, in bytes: 1 MiB of reasons, and 200 bytes for each of 5,000 items."""


def answer_bytes_max(path: str, sent_bytes: int, *, lines: bool) -> int:
    """Return the largest size that the answer to a body may have, whatever the body contains."""
    if path.partition("?")[0] != BULK_PATH:
        return ONE_ANSWER_BYTES_MAX
    by_size = ONE_ANSWER_BYTES_MAX + LINE_FACTOR_MAX * sent_bytes
    return by_size if lines else min(by_size, ARRAY_ANSWER_BYTES_MAX)


def objects(size: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """Yield objects of about `size` bytes at most, with a name for each shape."""
    chance = random.Random(seed)
    wide = [b'"%x":1' % number for number in range(size // 10)]
    yield "wide", b"{%b}" % b",".join(wide)
    yield "wide, the last name twice", b"{%b}" % b",".join([*wide, wide[-1]])
    yield "wide, all names the same", b"{%b}" % b",".join([b'"a":1'] * (size // 6))
    yield "wide within", b'{"uuid":{%b}}' % b",".join(wide)
    depth = size // 6
    yield "deep objects", b'{"a":' * depth + b"1" + b"}" * depth
    yield "deep lists", b'{"a":' + b"[" * (size // 2 - 3) + b"]" * (size // 2 - 3) + b"}"
    yield "many values", b'{"user_ids":[%b]}' % b",".join([b"1"] * (size // 2 - 8))
    yield "many objects", b'{"user_ids":[%b]}' % b",".join([b"{}"] * (size // 3 - 8))
    for letter in (b"x", "\N{GRINNING FACE}".encode(), b"\\u2028", b"\\n", b"\\ud800", b"&"):
        letters = letter * (size // 32 // len(letter) - 1)
        names = [b'"%x%b":1' % (number, letters) for number in range(31)]
        yield f"31 long names of {letter!r}", b"{%b}" % b",".join(names)
        yield f"one long name of {letter!r}", b'{"%b":1}' % (letter * (size // len(letter) - 8))
    for field in (
        b"uuid",
        b"type",
        b"amount",
        b"name",
        b"url",
        b"scopes",
        b"user_id",
        b"timestamp",
    ):
        yield f"long {field!r}", b'{"%b":"%b"}' % (field, b"9" * (size - 20))
        yield f"long number {field!r}", b'{"%b":%b}' % (field, b"9" * (size - 20))
    yield "noise", bytes(chance.randrange(256) for _ in range(min(size, 1000)))


def arrays(size: int) -> Iterator[tuple[str, bytes]]:
    """Yield arrays of about `size` bytes at most."""
    for item in (b"{}", b"1", b"[]", b'""', b"null", b'{"a":{}}', b'{"a":1,"b":2}'):
        yield f"full of {item!r}", b"[%b]" % b",".join([item] * (size // (len(item) + 1)))
        yield f"5,000 of {item!r}", b"[%b]" % b",".join([item] * 5000)
    fields = b",".join(b'"%b%x":1' % (b"x" * (size // 5000 // 32 - 8), n) for n in range(31))
    yield "5,000 of 31 unknown fields", b"[%b]" % b",".join([b"{%b}" % fields] * 5000)
    for name, item in objects(size // 2):
        yield f"one {name}", b"[%b]" % item
    yield "deep", b"[" * (size // 2) + b"]" * (size // 2)


def lines(size: int) -> Iterator[tuple[str, bytes]]:
    """Yield streams of about `size` bytes at most."""
    for line in (b"x", b"{}", b"[]", b'{"a":1}', b"\xff", b"\xef\xbb\xbf{}"):
        yield f"lines of {line!r}", (line + b"\n") * (size // (len(line) + 1))
    for name, item in objects(size // 20):
        yield f"lines {name}", (item.replace(b"\n", b" ") + b"\n") * 20
