"""The resolver of endpoints' host names, with a thread for each lookup.

A name server may be as slow as an endpoint. The event loop's own lookups share a few threads with everything else in
the process, so that a few lookups that hang would stop the lookups for RabbitMQ and the database, too. Here each lookup
has its own thread, and the process does not wait for these threads when it ends. There are at most as many threads as
endpoints, because the HTTP client makes one lookup per name at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult


class ThreadPerNameResolver(AbstractResolver):
    """The system's resolver, called in a new thread for each lookup."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            OSError: the name has no addresses, or they can't be looked up.
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Any]] = loop.create_future()

        def settle(result: list[Any] | OSError) -> None:
            if found.done():
                return
            if isinstance(result, OSError):
                found.set_exception(result)
            else:
                found.set_result(result)

        def look_up() -> None:
            result: list[Any] | OSError
            try:
                result = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            except OSError as error:
                result = error
            except UnicodeError as error:
                result = OSError(None, f"{host} is no name: {error}")
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting
                loop.call_soon_threadsafe(settle, result)

        threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                # A link-local address keeps its scope. The policy usually denies such an address. If it allows the
                # address, the scope is needed.
                host=socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0],
                port=port,
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, address in await found
        ]

    async def close(self) -> None:
        """Do nothing. A lookup that hangs ends by itself."""
