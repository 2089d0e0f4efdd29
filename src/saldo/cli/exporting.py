"""Where the transactions of an export come from: the log of all shards, or one user's list turned round."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from saldo.client import calls
from saldo.client.answers import Answer, decoded
from saldo.client.calls import Call
from saldo.client.models import Page
from saldo.client.synchronous.connection import Connection
from saldo.ledger.model import SHARDS
from saldo.ledger.time import parse_instant

PAGE_ITEMS: Final = 1000
"""As many as the service gives at once, unless it is set otherwise."""


class Line(msgspec.Struct):
    """A transaction with its values as the API writes them: nothing is read that is only to be written again."""

    uuid: str
    type: str
    amount: str
    user_id: int
    timestamp: str
    outcome: str
    balance: str
    number: int
    recorded_at: str


COLUMNS: Final = Line.__struct_fields__


class Place(msgspec.Struct, frozen=True):
    """How far the log is read: all shards before this one, and this one up to a `seq`."""

    shard: int = 0
    seq: int = 0


class Part(NamedTuple):
    """Some transactions, and the place after them."""

    lines: list[Line]
    place: Place


class _LogPage(msgspec.Struct):
    items: list[Line]
    reached: int
    more: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which transactions. since and until: of the timestamp; recorded_*: of the recording; all half-open."""

    posted_only: bool
    since: datetime | None
    until: datetime | None
    recorded_since: datetime | None
    recorded_until: datetime | None

    @property
    def everything(self) -> bool:
        """Whether none is left out."""
        bounds = (self.since, self.until, self.recorded_since, self.recorded_until)
        return not self.posted_only and all(bound is None for bound in bounds)

    def of(self, lines: list[Line]) -> list[Line]:
        """Those that are wanted."""
        return lines if self.everything else [line for line in lines if self._has(line)]

    def _has(self, line: Line) -> bool:
        if self.posted_only and line.outcome != "posted":
            return False
        return _between(line.timestamp, self.since, self.until) and _between(
            line.recorded_at, self.recorded_since, self.recorded_until
        )


def of_log(connection: Connection, place: Place) -> Iterator[Part]:
    """Every transaction after a place: by shard, in the order of its log; a user's in the order of `number`.

    What is recorded meanwhile is in it or not; of each user all up to some number are.
    """
    limit = PAGE_ITEMS
    shard, seq = place.shard, place.seq
    while shard < SHARDS:
        query = (("shard", str(shard)), ("after", str(seq)), ("limit", str(limit)))
        page = connection.ask(Call("GET", "/v1/transactions", _read_log, query))
        seq = page.reached
        if not page.more:
            shard, seq = shard + 1, 0
        yield Part(page.items, Place(shard, seq))


def of_user(
    connection: Connection, user_id: int, wanted: Wanted, known_at: datetime | None = None
) -> Iterator[Part]:
    """A user's transactions in the order of `number`. They come the newest first, so they wait in a file meanwhile.

    Args:
        known_at: only those that were recorded by then; None: all.
    """
    listing = calls.transactions(user_id, wanted.since, wanted.until, None, PAGE_ITEMS, known_at)
    with tempfile.TemporaryFile() as file:
        sizes: list[int] = []
        cursor: str | None = None
        while True:
            call = listing.page(cursor)
            page = connection.ask(Call("GET", call.path, _read_page, call.query))
            sizes.append(file.write(msgspec.json.encode(page.items)))
            cursor = page.next_cursor
            if cursor is None:
                break
        end = file.tell()
        for size in reversed(sizes):
            end -= size
            file.seek(end)
            lines = msgspec.json.decode(file.read(size), type=list[Line])
            yield Part(lines[::-1], Place())


def _between(text: str, since: datetime | None, until: datetime | None) -> bool:
    if since is None and until is None:
        return True
    moment = parse_instant(text, None)
    return (since is None or moment >= since) and (until is None or moment < until)


def _read_log(answer: Answer) -> _LogPage:
    return decoded(answer, _LogPage)


def _read_page(answer: Answer) -> Page[Line]:
    return decoded(answer, Page[Line])
