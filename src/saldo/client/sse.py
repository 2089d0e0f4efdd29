"""An incremental parser of server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from typing import Final, NamedTuple

FRAME_BYTES_MAX: Final = 1_048_576
"""Maximum size of an unfinished frame. Events of Saldo are about a thousand times smaller; the limit protects
the memory."""


class Frame(NamedTuple):
    """The lines between two empty lines. A field that was not given is None; `event` is then "message"."""

    event: str
    data: str | None
    id: str | None
    retry_milliseconds: int | None


class FrameParser:
    """Splits the received bytes into frames, independently of how they were split on arrival."""

    def __init__(self) -> None:
        self._partial_frame = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that end in the data.

        Raises:
            ValueError: A frame is too large, or is not UTF-8.
        """
        *frames, self._partial_frame = (
            (self._partial_frame + data).replace(b"\r\n", b"\n").split(b"\n\n")
        )
        if len(self._partial_frame) > FRAME_BYTES_MAX:
            raise ValueError(f"an event has more than {FRAME_BYTES_MAX} bytes")
        return [_parse_frame(each.decode()) for each in frames]


def _parse_frame(text: str) -> Frame:
    lines: list[str] = []
    event, identity, retry = "message", None, None
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                lines.append(value)
            case "event":
                event = value
            case "id" if "\0" not in value:
                identity = value
            case "retry" if value.isascii() and value.isdigit():
                retry = int(value)
    return Frame(event, "\n".join(lines) if lines else None, identity, retry)
