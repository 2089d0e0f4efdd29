"""The history of a run: the clients' calls, their times and their answers. The checker gets nothing else.

A history is an NDJSON file with one line for each operation, written when the operation ends or its client stops
waiting. It can be checked long after the run and on another machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import msgspec

KindName: TypeAlias = Literal["DEPOSIT", "WITHDRAW"]


class Post(msgspec.Struct, frozen=True, tag_field="call", tag="post"):
    """One attempt of `POST /v1/transaction` or of a line of a bulk request.

    A retry is an operation of its own with the same uuid.

    Attributes:
        amount: the amount as it was sent, a decimal string.
        timestamp: the timestamp as it was sent; None if it was left out.
    """

    uuid: str
    user_id: int
    type: KindName
    amount: str
    timestamp: str | None = None


class ReadBalance(msgspec.Struct, frozen=True, tag_field="call", tag="balance"):
    """One `GET /v1/user/{id}/balance`. `date` is the date as it was sent; None for the current balance."""

    user_id: int
    date: str | None = None


class ReadTransaction(msgspec.Struct, frozen=True, tag_field="call", tag="transaction"):
    """One `GET /v1/transaction/{uuid}`. The uuid is that of a transaction of the user, or it was never sent."""

    uuid: str
    user_id: int


class ListTransactions(msgspec.Struct, frozen=True, tag_field="call", tag="list"):
    """One `GET /v1/user/{id}/transactions?limit=…`, which reads the newest page only."""

    user_id: int
    limit: int


Call: TypeAlias = Post | ReadBalance | ReadTransaction | ListTransactions


class Operation(msgspec.Struct, frozen=True):
    """One call of one client, and its result.

    Attributes:
        client: the number of the client. A client makes one call at a time.
        invoked: the time before the first byte was sent, in seconds by a monotonic clock.
        answered: the time after the last byte arrived, in seconds by the same clock. None means that no complete answer
            arrived: the outcome of the call is unknown, and the call may still take effect long after it was given up.
        status: the status of HTTP, or of the line of a bulk request; None if there was no answer. After a 5xx the
            outcome is unknown, as without an answer.
        body: the body of the answer, unchanged.
        replayed: whether the answer had `Idempotent-Replayed: true`.
    """

    client: int
    invoked: float
    answered: float | None
    call: Call
    status: int | None = None
    body: Mapping[str, Any] | None = None
    replayed: bool = False


class Account(msgspec.Struct, frozen=True):
    """The final read of one user, after all faults have ended and all requests are decided.

    Attributes:
        balance: the answer of `GET /v1/user/{id}/balance`, unchanged.
        transactions: all pages of `GET /v1/user/{id}/transactions`, in the order of their numbers, each item
            unchanged.
    """

    user_id: int
    balance: str
    transactions: tuple[Mapping[str, Any], ...]


class Delivery(msgspec.Struct, frozen=True):
    """One event as one consumer received it; redeliveries are included.

    Attributes:
        consumer: the name of an exchange's queue, a stream, a webhook, or a subscriber of the live stream.
        event: the CloudEvent, unchanged.
    """

    consumer: str
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The complete input of the checker.

    Attributes:
        accounts: the final read, one for each user.
        deliveries: for each consumer, in the order in which it received them.
        consumers: the names of the consumers that must have received every event.
    """

    operations: list[Operation]
    accounts: list[Account]
    deliveries: list[Delivery]
    consumers: tuple[str, ...]


class Recorder:
    """A writer that appends whole lines to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._encoder = msgspec.json.Encoder()

    def add(self, item: Operation | Account | Delivery) -> None:
        """Write one line."""
        self._file.write(self._encoder.encode(item) + b"\n")


OPERATIONS, ACCOUNTS, DELIVERIES, CONSUMERS = (
    "operations.ndjson",
    "accounts.ndjson",
    "deliveries.ndjson",
    "consumers.json",
)
"""Names of the files of a run's evidence, in its directory."""


def load(directory: Path) -> Evidence:
    """Read the evidence of a run.

    Raises:
        OSError: one of the files is missing.
        msgspec.MsgspecError: one of the files is malformed.
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
