"""Detection of rows with the same uuid in one file, for a dry run: the service would replay or reject them.

Memory is bounded for files of any length. A row takes 48 bytes. Beyond `MEMORY_BYTES_MAX` the rows are written to
temporary files, partitioned by their uuid, and are compared part by part at the end.

The first row of the file counts as the one that is posted. An import posts rows of different users concurrently. If
rows of different users have the same uuid, an import may therefore post another of these rows than the first. The
number of rejected rows is the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

from saldo.ledger.model import TransactionRequest

MEMORY_BYTES_MAX: Final = 33_554_432
"""Maximum size of the rows in memory: 700,000 rows. More rows are written to temporary files."""

PARTS: Final = 128
"""Number of parts. One part is in memory at a time, which is 40 megabytes for a file of 100 million rows."""

_RECORD: Final = Struct(">16sQqqQ")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NO_TIMESTAMP: Final = -(2**63)
"""Value that stands for a missing timestamp."""


class DuplicateUuid(NamedTuple):
    """A row with the same uuid as an earlier row of the file.

    Attributes:
        line: The number of the last line of the row in the file.
        first_line: The number of the last line of the earlier row.
        signed_minor: The amount of the row in minor units; a withdrawal is negative.
        replayed: True if both rows have the same content, so that the service replays the first outcome. Otherwise the
            row is a conflict.
    """

    line: int
    first_line: int
    signed_minor: int
    replayed: bool


class DuplicateFinder:
    """Collects rows, and finds rows with the same uuid as an earlier row. It is a context manager."""

    def __init__(self, memory_bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self._memory_bytes_max = memory_bytes_max
        self._bytes = 0
        self._parts = [bytearray() for _ in range(PARTS)]
        self._files: list[BinaryIO] = []

    def __enter__(self) -> DuplicateFinder:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def add(self, request: TransactionRequest, line: int) -> None:
        """Add a row."""
        moment = request.timestamp
        micros = _NO_TIMESTAMP if moment is None else (moment - _EPOCH) // _MICROSECOND
        record = _RECORD.pack(request.uuid.bytes, request.user_id, request.amount, micros, line)
        self._parts[hash(request.uuid) % PARTS] += record
        self._bytes += len(record)
        if self._bytes > self._memory_bytes_max:
            self._spill_to_disk()

    def find(self) -> Iterator[DuplicateUuid]:
        """Yield the duplicates in the order of the file. If rows are in temporary files, this order applies only within
        each part."""
        if not self._files:
            yield from sorted(
                each for part in self._parts for each in _find_duplicates(bytes(part))
            )
            return
        self._spill_to_disk()
        for file in self._files:
            file.seek(0)
            yield from sorted(_find_duplicates(file.read()))

    def _spill_to_disk(self) -> None:
        if not self._files:
            self._files = [tempfile.TemporaryFile() for _ in range(PARTS)]  # noqa: SIM115 - closed at the end
        for file, part in zip(self._files, self._parts, strict=True):
            file.write(part)
            part.clear()
        self._bytes = 0


def _find_duplicates(records: bytes) -> Iterator[DuplicateUuid]:
    firsts: dict[bytes, tuple[int, int, int, int]] = {}
    for uuid, user_id, amount, micros, line in _RECORD.iter_unpack(records):
        first = firsts.setdefault(uuid, (user_id, amount, micros, line))
        if first[3] == line:
            continue
        # A row without a timestamp matches a first row with any timestamp. A row with a timestamp doesn't match a first
        # row without one, because the timestamp of that row is the time at which it is recorded.
        same = first[:2] == (user_id, amount) and micros in {_NO_TIMESTAMP, first[2]}
        yield DuplicateUuid(line, first[3], amount, same)
