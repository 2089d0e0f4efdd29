# Made of `saldo.client.asynchronous` by `python -m tests.client.twin`: change that, not this.
"""Paginated lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from saldo.client.endpoints import Listing
from saldo.client.models import Page
from saldo.client.synchronous.connection import Connection

T = TypeVar("T")


class Pages(Generic[T]):
    """A paginated list. Iterate over it to get its items, or over `pages()` to get its pages. Pages are fetched on
    demand."""

    def __init__(self, connection: Connection, listing: Listing[T], cursor: str | None) -> None:
        self._connection = connection
        self._listing = listing
        self._cursor = cursor

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.items

    def pages(self) -> Iterator[Page[T]]:
        """Yield the pages from the given cursor on. A page may be short although more pages follow."""
        cursor = self._cursor
        while True:
            page = self._connection.call(self._listing.build_page_call(cursor))
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    def page(self) -> Page[T]:
        """Return the page at the given cursor. Its `next_cursor` is the cursor of the next page."""
        return self._connection.call(self._listing.build_page_call(self._cursor))
