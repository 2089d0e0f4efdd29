"""Requests to post transactions: they are validated as far as possible without the service, and encoded as JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from saldo.client.models import Amount, Instant, TransactionType


def new_uuid() -> UUID:
    """Return a UUID of version 7 (RFC 9562): random, but increasing with time, which is faster to index."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return UUID(int=value)


class TransactionRequest:
    """A transaction request. Its uuid is assigned when the request is created, so that the request can be sent
    repeatedly.

    Attributes:
        timestamp: The time at which the transaction takes effect; None means the time at which the service processes
            it.
    """

    __slots__ = ("amount", "timestamp", "user_id", "uuid")

    type: ClassVar[TransactionType]

    def __init__(
        self,
        user_id: int,
        amount: Amount,
        *,
        timestamp: Instant | None = None,
        uuid: UUID | str | None = None,
    ) -> None:
        """
        Args:
            uuid: The uuid of the transaction. The default is a new one.

        Raises:
            TypeError: The amount is a float.
            ValueError: A value can't be encoded, such as a time without a zone or a text that is not a UUID.
        """
        self.user_id = user_id
        self.amount = format_amount(amount)
        self.timestamp = None if timestamp is None else format_time(timestamp)
        if uuid is None:
            uuid = new_uuid()
        self.uuid = uuid if isinstance(uuid, UUID) else UUID(uuid)

    def __repr__(self) -> str:
        given = f"{self.user_id}, {self.amount!r}, timestamp={self.timestamp!r}, uuid={self.uuid!r}"
        return f"{type(self).__name__}({given})"

    def build_fields(self) -> dict[str, Any]:
        """Return the fields of the request under their names in the API."""
        fields: dict[str, Any] = {
            "uuid": self.uuid,
            "type": self.type,
            "amount": self.amount,
            "user_id": self.user_id,
        }
        if self.timestamp is not None:
            fields["timestamp"] = self.timestamp
        return fields

    def encode_body(self) -> bytes:
        """Encode the request as JSON."""
        return _encoder.encode(self.build_fields())


class Deposit(TransactionRequest):
    """A request to add money to a balance."""

    __slots__ = ()

    type = "DEPOSIT"


class Withdrawal(TransactionRequest):
    """A request to take money from a balance."""

    __slots__ = ()

    type = "WITHDRAW"


def format_amount(amount: Amount) -> str:
    """Return an amount as the API expects it: digits and at most one point.

    Raises:
        TypeError, ValueError: The value is not an amount.
    """
    match amount:
        case float():
            raise TypeError(
                f"an amount must not be a float: {amount!r} can't be represented exactly. "
                'Give a Decimal, a str such as "0.10", or an int'
            )
        case bool():
            raise TypeError("an amount must be a Decimal, a str or an int, not a bool")
        case str():
            return amount
        case int():
            return str(amount)
        case Decimal():
            if not amount.is_finite():
                raise ValueError(f"an amount must be a number, not {amount}")
            return format(amount, "f")
        case _:
            raise TypeError(
                f"an amount must be a Decimal, a str or an int, not {type(amount).__name__}"
            )


def format_time(instant: Instant) -> str:
    """Return a time as the API expects it.

    Raises:
        TypeError: The value is neither a datetime nor a str.
        ValueError: The datetime has no zone, so the time that it stands for is unknown.
    """
    if isinstance(instant, str):
        return instant
    if not isinstance(instant, datetime):
        raise TypeError(f"a time must be an aware datetime or a str, not {type(instant).__name__}")
    if instant.utcoffset() is None:
        raise ValueError(
            f"{instant!r} has no time zone: use an aware datetime, such as datetime.now(timezone.utc)"
        )
    # UTC is used, because historical offsets contain seconds, which few parsers accept.
    return instant.astimezone(UTC).isoformat()


def encode_array(requests: Iterable[TransactionRequest]) -> bytes:
    """Encode requests as a JSON array."""
    return _encoder.encode([request.build_fields() for request in requests])


_encoder = msgspec.json.Encoder()
