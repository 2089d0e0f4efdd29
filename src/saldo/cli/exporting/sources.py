"""Sources of an export: the log of all shards, or one user's list in reverse order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from saldo.client import endpoints
from saldo.client.endpoints import Call
from saldo.client.models import Page
from saldo.client.responses import Response, decode_body
from saldo.client.synchronous.connection import Connection
from saldo.ledger.instants import parse_instant
from saldo.ledger.model import SHARDS

PAGE_ITEMS: Final = 1000
"""Items per page, which is the maximum that the service allows by default."""


class ExportedTransaction(msgspec.Struct):
    """A transaction with its values as the API writes them. The values are only copied to the file, so they are not
    parsed."""

    uuid: str
    type: str
    amount: str
    user_id: int
    timestamp: str
    outcome: str
    balance: str
    number: int
    recorded_at: str


COLUMNS: Final = ExportedTransaction.__struct_fields__


class ExportPosition(msgspec.Struct, frozen=True):
    """The position of an export in the log. All shards before `shard` were read to their end, and `shard` was read up
    to `seq` (inclusive)."""

    shard: int = 0
    seq: int = 0


class ExportPart(NamedTuple):
    """Some transactions, and the position after them."""

    lines: list[ExportedTransaction]
    position: ExportPosition


class _LogPage(msgspec.Struct):
    items: list[ExportedTransaction]
    reached: int
    more: bool


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """The filter of an export. All ranges include their start and exclude their end.

    Attributes:
        since: The start of the range of timestamps.
        until: The end of the range of timestamps.
        recorded_since: The start of the range of recorded times.
        recorded_until: The end of the range of recorded times.
    """

    posted_only: bool
    since: datetime | None
    until: datetime | None
    recorded_since: datetime | None
    recorded_until: datetime | None

    @property
    def is_empty(self) -> bool:
        """True if the filter excludes nothing."""
        bounds = (self.since, self.until, self.recorded_since, self.recorded_until)
        return not self.posted_only and all(bound is None for bound in bounds)

    def apply(self, lines: list[ExportedTransaction]) -> list[ExportedTransaction]:
        """Return the transactions that match the filter."""
        return lines if self.is_empty else [line for line in lines if self._matches(line)]

    def _matches(self, line: ExportedTransaction) -> bool:
        if self.posted_only and line.outcome != "posted":
            return False
        return _is_in_range(line.timestamp, self.since, self.until) and _is_in_range(
            line.recorded_at, self.recorded_since, self.recorded_until
        )


def read_log_parts(connection: Connection, position: ExportPosition) -> Iterator[ExportPart]:
    """Yield every transaction after a position, shard by shard, in the order of the log. This is the order of `number`
    for each user.

    A transaction that is recorded during the export may be missing. If so, all later transactions of the same user are
    missing, too.
    """
    limit = PAGE_ITEMS
    shard, seq = position.shard, position.seq
    while shard < SHARDS:
        query = (("shard", str(shard)), ("after", str(seq)), ("limit", str(limit)))
        page = connection.call(Call("GET", "/v1/transactions", _decode_log_page, query))
        seq = page.reached
        if not page.more:
            shard, seq = shard + 1, 0
        yield ExportPart(page.items, ExportPosition(shard, seq))


def read_user_parts(
    connection: Connection,
    user_id: int,
    export_filter: ExportFilter,
    known_at: datetime | None = None,
) -> Iterator[ExportPart]:
    """Yield a user's transactions in the order of `number`.

    The service lists the newest first, so the pages are stored in a temporary file until all are read.

    Args:
        known_at: Yield only transactions that were recorded until this time; None means all.
    """
    listing = endpoints.transactions(
        user_id, export_filter.since, export_filter.until, None, PAGE_ITEMS, known_at
    )
    with tempfile.TemporaryFile() as file:
        sizes: list[int] = []
        cursor: str | None = None
        while True:
            call = listing.build_page_call(cursor)
            page = connection.call(Call("GET", call.path, _decode_page, call.query))
            sizes.append(file.write(msgspec.json.encode(page.items)))
            cursor = page.next_cursor
            if cursor is None:
                break
        end = file.tell()
        for size in reversed(sizes):
            end -= size
            file.seek(end)
            lines = msgspec.json.decode(file.read(size), type=list[ExportedTransaction])
            yield ExportPart(lines[::-1], ExportPosition())


def _is_in_range(text: str, since: datetime | None, until: datetime | None) -> bool:
    if since is None and until is None:
        return True
    moment = parse_instant(text, None)
    return (since is None or moment >= since) and (until is None or moment < until)


def _decode_log_page(answer: Response) -> _LogPage:
    return decode_body(answer, _LogPage)


def _decode_page(answer: Response) -> Page[ExportedTransaction]:
    return decode_body(answer, Page[ExportedTransaction])
