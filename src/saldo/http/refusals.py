"""Refusals on their way out: some each turn of the loop, and never for more than a share of its time.

Written at once, where the request was read, they would do two kinds of harm while far too much comes. A client that has
its answer asks again, and libuv reads on as long as a thousand connections have something: nothing else of the loop
had its turn for seconds, and nobody was answered but with a no. And where a refusal is dear (the network's work is
done on the same processor), refusing what comes may take all the time there is.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from time import perf_counter
from typing import Final, Protocol

TIME_SHARE: Final = 0.25
"""Of the loop's time, for writing refusals. What comes beyond it waits."""

REST_SECONDS: Final = 0.004
"""Between two slices of it; more, when the loop has much else to do, and then the next slice is larger."""

SLICE_SECONDS_MAX: Final = 0.02
"""Of refusals, before others have their turn."""

LOOKED_AFTER: Final = 16
"""Refusals, between two looks at the clock."""


class Sender(Protocol):
    """The connection of a refusal."""

    def flush(self) -> None:
        """Sends what waits to be sent; nothing, if the client is gone."""


class Refusals:
    """In the order in which they came, each connection once: so there are never more than connections."""

    __slots__ = ("_ended", "_loop", "_senders", "_sends")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._senders: OrderedDict[Sender, None] = OrderedDict()
        self._ended = 0.0
        self._sends = False

    def add(self, sender: Sender) -> None:
        """What this one has to send is a refusal."""
        self._senders[sender] = None
        if not self._sends:
            self._sends = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        senders = self._senders
        began = now = perf_counter()
        end = began + min((began - self._ended) * TIME_SHARE, SLICE_SECONDS_MAX)
        while senders and now < end:
            for _ in range(min(LOOKED_AFTER, len(senders))):
                senders.popitem(last=False)[0].flush()
            now = perf_counter()
        self._ended = now
        self._sends = bool(senders)
        if self._sends:
            self._loop.call_later(REST_SECONDS, self._send)
