"""Flow control that resumes reading only after the received data has been parsed."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl


class ResumableParser(Protocol):
    """The part of a protocol that resumes parsing."""

    loop: asyncio.AbstractEventLoop

    @property
    def has_unparsed_data(self) -> bool:
        """True if received data has not been parsed yet."""

    def resume_parsing(self) -> None:
        """Parse the data that was received already, and then resume reading."""


class ResumableFlowControl(FlowControl):
    """Flow control that resumes reading only after the received data has been parsed."""

    def __init__(self, transport: Any, protocol: ResumableParser) -> None:
        super().__init__(transport)
        self._loop = protocol.loop
        self._protocol: ResumableParser | None = protocol

    def detach(self) -> None:
        """Release the protocol when the connection ends, because the garbage collector would find the cycle late."""
        self._protocol = None

    def resume_reading(self) -> None:
        """Resume reading, or parsing if received data has not been parsed yet."""
        if self.read_paused:
            if self._protocol is not None and self._protocol.has_unparsed_data:
                # It is not called directly, because the server starts its next request only after this call.
                self._loop.call_soon(self._protocol.resume_parsing)
            else:
                super().resume_reading()
