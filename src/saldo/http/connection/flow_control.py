"""Flow control that resumes reading only after the received data has been parsed."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl


class ResumableParser(Protocol):
    """The part of a protocol's interface with which flow control resumes parsing."""

    loop: asyncio.AbstractEventLoop

    @property
    def has_unparsed_data(self) -> bool:
        """True if received data has not been parsed yet."""

    def resume_parsing(self) -> None:
        """Parse the data that has been received already, and then resume reading from the connection."""


class ResumableFlowControl(FlowControl):
    """Flow control that resumes reading only after the received data has been parsed."""

    def __init__(self, transport: Any, protocol: ResumableParser) -> None:
        super().__init__(transport)
        self._loop = protocol.loop
        self._protocol: ResumableParser | None = protocol

    def detach(self) -> None:
        """Release the reference to the protocol, because the garbage collector would free the cycle late. Called when
        the connection ends."""
        self._protocol = None

    def resume_reading(self) -> None:
        """Resume reading, or parsing if received data has not been parsed yet."""
        if self.read_paused:
            if self._protocol is not None and self._protocol.has_unparsed_data:
                # Parsing resumes in a callback, because the server starts the next request only after `resume_reading`
                # returns.
                self._loop.call_soon(self._protocol.resume_parsing)
            else:
                super().resume_reading()
