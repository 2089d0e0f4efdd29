"""Lines of a stream: the same however the bytes arrive, and never more of them kept than the limit."""

from __future__ import annotations

from saldo.http.stream import Lines

LINE_BYTES_MAX = 12

Found = list[tuple[int, bytes | None]]


def check(data: bytes) -> None:
    """The first bytes say how the others are cut: up to sixteen sizes, then all that is left."""
    count = data[0] % 16 if data else 0
    sizes, content = data[1 : 1 + count], data[1 + count :]
    lines, found, begin = Lines(LINE_BYTES_MAX), [], 0
    for size in [*sizes, len(content)]:
        found += lines.cut(content[begin : begin + size])
        assert len(lines._begun) <= LINE_BYTES_MAX
        begin += size
    found += lines.end()
    assert found == _expected(content)
    assert lines.number == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


def _expected(content: bytes) -> Found:
    return [
        (number, line if len(line) <= LINE_BYTES_MAX else None)
        for number, line in enumerate(content.split(b"\n"), start=1)
        if len(line) > LINE_BYTES_MAX or line.strip(b" \t\r\x0b\x0c")
    ]
