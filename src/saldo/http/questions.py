"""The two questions that are asked most, from the path's text to the answer. Used by both of their routes."""

from __future__ import annotations

import msgspec

from saldo.access.grant import Grant
from saldo.http import problems, schemas
from saldo.http.answers import Answer, transaction_answer
from saldo.http.wire import InvalidError, Reading, parse_user_id, parse_uuid
from saldo.ledger.money import format_money
from saldo.store.errors import StoreError
from saldo.store.reader import Reader

_encoder = msgspec.json.Encoder()


class Questions:
    """Answers from the reader."""

    def __init__(self, reader: Reader, reading: Reading) -> None:
        self._reader = reader
        self._reading = reading

    async def balance_now(self, user_id: str, request_id: str, grant: Grant) -> Answer:
        """`GET /v1/user/{user_id}/balance` without a query."""
        try:
            number = parse_user_id(user_id)
            if not grant.covers(number):
                return problems.forbidden_user(number).answer(request_id)
            balance = await self._reader.balance(number, None, None)
        except (InvalidError, StoreError) as error:
            return problems.of_error(error, request_id).answer(request_id)
        if balance is None:
            return problems.user_not_found(number).answer(request_id)
        written = format_money(balance, self._reading.decimals)
        return Answer(200, _encoder.encode(schemas.Balance(number, written, None, None, None)))

    async def transaction(
        self, uuid: str, request_id: str, grant: Grant, user_id: str | None = None
    ) -> Answer:
        """`GET /v1/transaction/{uuid}`. One of a user that the key is not about, or of another one, is not found."""
        try:
            number = None if user_id is None else parse_user_id(user_id)
            found = await self._reader.transaction(parse_uuid(uuid), number)
        except (InvalidError, StoreError) as error:
            return problems.of_error(error, request_id).answer(request_id)
        if found is None or not grant.covers(found.user_id):
            return problems.transaction_not_found(uuid).answer(request_id)
        body = transaction_answer(
            found.uuid,
            found.user_id,
            found.number,
            found.amount,
            found.balance,
            found.timestamp,
            found.recorded_at,
            found.outcome,
            self._reading.decimals,
        )
        return Answer(200, _encoder.encode(body))
