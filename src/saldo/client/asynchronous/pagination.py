"""Paginated lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from saldo.client.asynchronous.connection import AsyncConnection
from saldo.client.endpoints import Listing
from saldo.client.models import Page

T = TypeVar("T")


class AsyncPages(Generic[T]):
    """A paginated list. Iterate over it to get its items, or over `pages()` to get its pages. Pages are fetched on
    demand."""

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
        """Yield the pages from the given cursor on. A page may be short although more pages follow."""
        cursor = self._cursor
        while True:
            page = await self._connection.call(self._listing.build_page_call(cursor))
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    async def page(self) -> Page[T]:
        """Return the page at the given cursor. Its `next_cursor` is the cursor of the next page."""
        return await self._connection.call(self._listing.build_page_call(self._cursor))
