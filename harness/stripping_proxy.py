"""A reverse proxy that serves a service under a path prefix, and removes the prefix from the path of each request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from aiohttp import web

_NOT_FORWARDED = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}


class StrippingProxy:
    """A running proxy.

    Attributes:
        url: The URL of the service behind the proxy, with the prefix.
        outside: The paths of the requests outside of the prefix, which were answered 404.
    """

    def __init__(self, upstream: str, prefix: str, headers: Mapping[str, str]) -> None:
        self.url = ""
        self.outside: list[str] = []
        self._upstream = upstream
        self._prefix = prefix
        self._headers = headers

    async def start(self) -> web.AppRunner:
        """Start to listen on a free port."""
        self._client = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._forward)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}{self._prefix}"
        return runner

    async def stop(self, runner: web.AppRunner) -> None:
        """Close all connections."""
        await self._client.close()
        await runner.cleanup()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path
        if not path.startswith(f"{self._prefix}/"):
            self.outside.append(path)
            return web.Response(status=404)
        headers = {
            **{k: v for k, v in request.headers.items() if k.lower() not in _NOT_FORWARDED},
            **{"X-Forwarded-For": request.remote or "", **self._headers},
        }
        async with self._client.request(
            request.method,
            self._upstream + path.removeprefix(self._prefix),
            headers=headers,
            data=await request.read(),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in _NOT_FORWARDED:
                    response.headers.add(name, value)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response


@contextmanager
def run_stripping_proxy(
    upstream: str, prefix: str, headers: Mapping[str, str] | None = None
) -> Iterator[StrippingProxy]:
    """Yield a proxy in a thread of its own.

    Args:
        upstream: The URL of the service.
        prefix: The path under which the proxy serves it, such as `/ledger`.
        headers: Headers that the proxy sets in each request, besides `X-Forwarded-For`.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = StrippingProxy(upstream, prefix, headers or {})
    runner = asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(30)
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(runner), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
