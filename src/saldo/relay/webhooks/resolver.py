"""Looking up the names of endpoints, in threads of their own.

A name server may be as slow as an endpoint. The event loop's own look-ups share a handful of threads with
everything else in the process: a few names that hang would stop RabbitMQ's and the database's, too. Here each
look-up has a thread, and nobody waits for it at the end. There are as many as there are endpoints at most: the
client asks for a name once at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult


class ThreadPerNameResolver(AbstractResolver):
    """The system's resolver."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            OSError: it has none, or they can't be found out.
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
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
                loop.call_soon_threadsafe(settle, result)

        threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                # The scope of a link-local address stays with it; it is refused anyway, or wanted.
                host=socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0],
                port=port,
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, address in await found
        ]

    async def close(self) -> None:
        """Nothing: a look-up that hangs ends by itself."""
