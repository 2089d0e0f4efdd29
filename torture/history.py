"""What clients saw: the calls they made, when, and what was answered. The checker knows nothing else.

A history is a file of lines of JSON, one an operation, written as the operation ends or is given up. It can be
checked long after, on another machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import msgspec

KindName: TypeAlias = Literal["DEPOSIT", "WITHDRAW"]


class Post(msgspec.Struct, frozen=True, tag_field="call", tag="post"):
    """`POST /v1/transaction`, or a line of a bulk: one attempt. A retry is an operation of its own, same uuid.

    Attributes:
        amount: as sent, a decimal string.
        timestamp: as sent; None: left out.
    """

    uuid: str
    user_id: int
    type: KindName
    amount: str
    timestamp: str | None = None


class ReadBalance(msgspec.Struct, frozen=True, tag_field="call", tag="balance"):
    """`GET /v1/user/{id}/balance`. date: as sent; None: the balance of now."""

    user_id: int
    date: str | None = None


class ReadTransaction(msgspec.Struct, frozen=True, tag_field="call", tag="transaction"):
    """`GET /v1/transaction/{uuid}` of a uuid that is the user's, or was never sent."""

    uuid: str
    user_id: int


class ListTransactions(msgspec.Struct, frozen=True, tag_field="call", tag="list"):
    """`GET /v1/user/{id}/transactions?limit=…`: the newest page alone."""

    user_id: int
    limit: int


Call: TypeAlias = Post | ReadBalance | ReadTransaction | ListTransactions


class Operation(msgspec.Struct, frozen=True):
    """One call of one client, and what it learnt.

    Attributes:
        client: who; a client does one thing after the other.
        invoked: seconds of one monotonic clock, before the first byte was sent.
        answered: seconds of the same clock, after the last byte came; None: no whole answer came, ever. What became
            of the call is not known, and it may still take effect long after it was given up.
        status: of HTTP, or of the line of a bulk; None: no answer. A 5xx says as little as none.
        body: the answer's, as it came.
        replayed: the answer said `Idempotent-Replayed: true`.
    """

    client: int
    invoked: float
    answered: float | None
    call: Call
    status: int | None = None
    body: Mapping[str, Any] | None = None
    replayed: bool = False


class Account(msgspec.Struct, frozen=True):
    """The final read of one user, after everything has calmed down.

    Attributes:
        balance: `GET /v1/user/{id}/balance`, as it came.
        transactions: all of `GET /v1/user/{id}/transactions`, in the order of their numbers, each as it came.
    """

    user_id: int
    balance: str
    transactions: tuple[Mapping[str, Any], ...]


class Delivery(msgspec.Struct, frozen=True):
    """One event as it reached one consumer, repetitions and all.

    Attributes:
        consumer: who: an exchange's queue, a stream, a webhook, a subscriber of the live stream.
        event: the CloudEvent, as it came.
    """

    consumer: str
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the checker is given.

    Attributes:
        accounts: the final read, one a user.
        deliveries: of each consumer in the order in which they came.
        consumers: the names of those that must have been told of everything.
    """

    operations: list[Operation]
    accounts: list[Account]
    deliveries: list[Delivery]
    consumers: tuple[str, ...]


class Recorder:
    """Appends to a file of lines, each whole when it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._encoder = msgspec.json.Encoder()

    def add(self, item: Operation | Account | Delivery) -> None:
        """Writes one line."""
        self._file.write(self._encoder.encode(item) + b"\n")


OPERATIONS, ACCOUNTS, DELIVERIES, CONSUMERS = (
    "operations.ndjson",
    "accounts.ndjson",
    "deliveries.ndjson",
    "consumers.json",
)
"""The files of a run's evidence, in its directory."""


def load(directory: Path) -> Evidence:
    """The evidence of a run.

    Raises:
        OSError: a file of it is missing.
        msgspec.MsgspecError: a file is not what it should be.
    """
    return Evidence(
        [*_lines(directory / OPERATIONS, Operation)],
        [*_lines(directory / ACCOUNTS, Account)],
        [*_lines(directory / DELIVERIES, Delivery)],
        msgspec.json.decode((directory / CONSUMERS).read_bytes(), type=tuple[str, ...]),
    )


def _lines(path: Path, kind: type[Any]) -> Iterator[Any]:
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)
