"""Lines of a stream: the same however the bytes arrive, and never more bytes buffered than the limit."""

from __future__ import annotations

from saldo.http.api.bulk_stream import LineSplitter

LINE_BYTES_MAX = 12

Found = list[tuple[int, bytes | None]]


def check(data: bytes) -> None:
    """Split the input as its first bytes say: up to sixteen sizes, then the rest."""
    count = data[0] % 16 if data else 0
    sizes, content = data[1 : 1 + count], data[1 + count :]
    lines, found, begin = LineSplitter(LINE_BYTES_MAX), [], 0
    for size in [*sizes, len(content)]:
        found += lines.feed(content[begin : begin + size])
        assert len(lines._partial_line) <= LINE_BYTES_MAX
        begin += size
    found += lines.flush()
    assert found == _split_content(content)
    assert lines.number == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


def _split_content(content: bytes) -> Found:
    return [
        (number, line if len(line) <= LINE_BYTES_MAX else None)
        for number, line in enumerate(content.split(b"\n"), start=1)
        if len(line) > LINE_BYTES_MAX or line.strip(b" \t\r\x0b\x0c")
    ]
