"""The two most frequent reads, from the text of the path to the response."""

from __future__ import annotations

from saldo.auth.grants import Grant
from saldo.encoding.json import encode_json
from saldo.http import problems
from saldo.http.responses import RawResponse, transaction_schema
from saldo.http.schemas import ledger
from saldo.ledger.money import format_money
from saldo.parsing.faults import InvalidError
from saldo.parsing.transactions import ParserOptions, parse_user_id, parse_uuid
from saldo.store.errors import StoreError
from saldo.store.reader import Reader


class FastReads:
    """The handler of the two reads."""

    def __init__(self, reader: Reader, reading: ParserOptions) -> None:
        self._reader = reader
        self._reading = reading

    async def balance_now(self, user_id: str, request_id: str, grant: Grant) -> RawResponse:
        """Answer `GET /v1/user/{user_id}/balance` without a query. With a query, the framework's route answers."""
        try:
            number = parse_user_id(user_id)
            if not grant.includes_user(number):
                return problems.forbidden_user(number).answer(request_id)
            balance = await self._reader.read_balance(number, None, None)
        except (InvalidError, StoreError) as error:
            return problems.from_error(error, request_id).answer(request_id)
        if balance is None:
            return problems.user_not_found(number).answer(request_id)
        written = format_money(balance, self._reading.decimals)
        return RawResponse(200, encode_json(ledger.Balance(number, written, None, None, None)))

    async def transaction(
        self, uuid: str, request_id: str, grant: Grant, user_id: str | None = None
    ) -> RawResponse:
        """Answer `GET /v1/transaction/{uuid}`, for both of its routes.

        A transaction of a user that the key may not access is not found. With `user_id`, neither is another user's.
        """
        try:
            number = None if user_id is None else parse_user_id(user_id)
            found = await self._reader.get_transaction(parse_uuid(uuid), number)
        except (InvalidError, StoreError) as error:
            return problems.from_error(error, request_id).answer(request_id)
        if found is None or not grant.includes_user(found.user_id):
            return problems.transaction_not_found(uuid).answer(request_id)
        body = transaction_schema(
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
        return RawResponse(200, encode_json(body))
