"""Pagination of lists by id: a query fetches one more item than fits, which shows whether there is a next page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from saldo.parsing.transactions import format_cursor


class HasId(Protocol):
    """An item of a list by id."""

    @property
    def id(self) -> int: ...


L = TypeVar("L", bound=HasId)


def cut_page(listing: str, items: Sequence[L], limit: int) -> tuple[Sequence[L], str | None]:
    """Return the items of a page, and the cursor of the next page or None if there is none.

    Args:
        items: Items in the order of their ids, from a query for `limit + 1` items.
    """
    page = items[:limit]
    has_more = len(items) > limit
    return page, format_cursor(listing, page[-1].id) if has_more else None
