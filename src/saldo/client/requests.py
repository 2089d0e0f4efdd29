"""The transactions that are sent: checked as far as no service is needed for it, and written as JSON."""

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
    """A UUID of version 7 (RFC 9562): random, and the later the greater, which a database files faster."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return UUID(int=value)


class Request:
    """A transaction to be posted. It has its uuid from the beginning, so that it can be sent as often as needed.

    Attributes:
        timestamp: when it takes effect; None: the service's clock, when it is processed.
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
            uuid: None: a new one is made.

        Raises:
            TypeError: the amount is a float.
            ValueError: something can't be written: a time without a zone, a text that is no uuid.
        """
        self.user_id = user_id
        self.amount = written_amount(amount)
        self.timestamp = None if timestamp is None else written_instant(timestamp)
        if uuid is None:
            uuid = new_uuid()
        self.uuid = uuid if isinstance(uuid, UUID) else UUID(uuid)

    def __repr__(self) -> str:
        given = f"{self.user_id}, {self.amount!r}, timestamp={self.timestamp!r}, uuid={self.uuid!r}"
        return f"{type(self).__name__}({given})"

    def fields(self) -> dict[str, Any]:
        """As the API names them."""
        fields: dict[str, Any] = {
            "uuid": self.uuid,
            "type": self.type,
            "amount": self.amount,
            "user_id": self.user_id,
        }
        if self.timestamp is not None:
            fields["timestamp"] = self.timestamp
        return fields

    def body(self) -> bytes:
        """In JSON."""
        return _encoder.encode(self.fields())


class Deposit(Request):
    """Money that comes in."""

    __slots__ = ()

    type = "DEPOSIT"


class Withdrawal(Request):
    """Money that goes out."""

    __slots__ = ()

    type = "WITHDRAW"


def written_amount(amount: Amount) -> str:
    """As the API wants it: digits and at most one point.

    Raises:
        TypeError, ValueError: it is no amount.
    """
    match amount:
        case float():
            raise TypeError(
                f"an amount must not be a float: {amount!r} can't be held exactly as one. "
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


def written_instant(instant: Instant) -> str:
    """As the API wants it.

    Raises:
        ValueError: a datetime without a zone: whose time it is can't be told.
    """
    if isinstance(instant, str):
        return instant
    if not isinstance(instant, datetime):
        raise TypeError(f"a time must be an aware datetime or a str, not {type(instant).__name__}")
    if instant.utcoffset() is None:
        raise ValueError(
            f"{instant!r} has no zone: give an aware datetime, such as datetime.now(timezone.utc)"
        )
    # In UTC: offsets of long ago have seconds, which few readers know.
    return instant.astimezone(UTC).isoformat()


def written_array(requests: Iterable[Request]) -> bytes:
    """A JSON array."""
    return _encoder.encode([request.fields() for request in requests])


_encoder = msgspec.json.Encoder()
