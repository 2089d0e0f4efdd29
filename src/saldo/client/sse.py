"""Reading server-sent events (WHATWG HTML, section 9.2): bytes in, frames out."""

from __future__ import annotations

from typing import Final, NamedTuple

FRAME_BYTES_MAX: Final = 1_048_576
"""An event of Saldo has a thousandth of that: more is not one, and must not fill the memory."""


class Frame(NamedTuple):
    """What stands between two empty lines. None: it was not given."""

    event: str
    data: str | None
    id: str | None
    retry_milliseconds: int | None


class Frames:
    """Cuts bytes into frames, however they come in."""

    def __init__(self) -> None:
        self._begun = b""

    def take(self, data: bytes) -> list[Frame]:
        """The frames that end in the data.

        Raises:
            ValueError: one is too large, or no text.
        """
        *ended, self._begun = (self._begun + data).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(self._begun) > FRAME_BYTES_MAX:
            raise ValueError(f"an event has more than {FRAME_BYTES_MAX} bytes")
        return [_frame(each.decode()) for each in ended]


def _frame(text: str) -> Frame:
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
