"""Lists, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from saldo.client.asynchronous.connection import AsyncConnection
from saldo.client.calls import Listing
from saldo.client.models import Page

T = TypeVar("T")


class AsyncPages(Generic[T]):
    """A list. Iterate over it for its items, over `pages()` for its pages; each is asked for when it is needed."""

    def __init__(
        self, connection: AsyncConnection, listing: Listing[T], cursor: str | None
    ) -> None:
        self._connection = connection
        self._listing = listing
        self._cursor = cursor

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Pages, from the given cursor on. One may be short, and more come after it."""
        cursor = self._cursor
        while True:
            page = await self._connection.ask(self._listing.page(cursor))
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    async def page(self) -> Page[T]:
        """The one page at the given cursor; its `next_cursor` leads on."""
        return await self._connection.ask(self._listing.page(self._cursor))
