"""Cutting what was found into a page: one more than fits is asked for, and tells whether there is another page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from saldo.http.wire import write_cursor


class Listed(Protocol):
    """An item of a list by id."""

    @property
    def id(self) -> int: ...


L = TypeVar("L", bound=Listed)


def page_of(listing: str, found: Sequence[L], limit: int) -> tuple[Sequence[L], str | None]:
    """The items of the page, and the cursor of the next one; None: there is none.

    Args:
        found: by id; `limit + 1` were asked for.
    """
    page = found[:limit]
    more = len(found) > limit
    return page, write_cursor(listing, page[-1].id) if more else None
