# Made of `saldo.client.asynchronous` by `python -m tests.client.twin`: change that, not this.
"""Lists, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from saldo.client.calls import Listing
from saldo.client.models import Page
from saldo.client.synchronous.connection import Connection

T = TypeVar("T")


class Pages(Generic[T]):
    """A list. Iterate over it for its items, over `pages()` for its pages; each is asked for when it is needed."""

    def __init__(self, connection: Connection, listing: Listing[T], cursor: str | None) -> None:
        self._connection = connection
        self._listing = listing
        self._cursor = cursor

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.items

    def pages(self) -> Iterator[Page[T]]:
        """Pages, from the given cursor on. One may be short, and more come after it."""
        cursor = self._cursor
        while True:
            page = self._connection.ask(self._listing.page(cursor))
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    def page(self) -> Page[T]:
        """The one page at the given cursor; its `next_cursor` leads on."""
        return self._connection.ask(self._listing.page(self._cursor))
