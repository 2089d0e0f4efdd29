"""The two most frequent reads: a current balance, and a transaction by its uuid. They bypass the framework."""

from __future__ import annotations

from saldo.auth.grants import Grant
from saldo.encoding.json import encode_json
from saldo.http import problems
from saldo.http.responses import RawResponse, build_transaction
from saldo.http.schemas import ledger
from saldo.ledger.money import format_money
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import ParserOptions, parse_user_id, parse_uuid
from saldo.store.errors import StoreError
from saldo.store.reader import Reader


class FastReadHandler:
    """The handler of the two most frequent reads."""

    def __init__(self, reader: Reader, options: ParserOptions) -> None:
        self._reader = reader
        self._options = options

    async def get_current_balance(self, user_id: str, request_id: str, grant: Grant) -> RawResponse:
        """Answer `GET /v1/user/{user_id}/balance` without query parameters. The framework handles requests that have
        some."""
        try:
            number = parse_user_id(user_id)
            if not grant.includes_user(number):
                return problems.build_forbidden_user(number).build_response(request_id)
            balance = await self._reader.read_balance(number, None, None)
        except (InvalidRequestError, StoreError) as error:
            return problems.convert_error(error, request_id).build_response(request_id)
        if balance is None:
            return problems.build_user_not_found(number).build_response(request_id)
        balance_text = format_money(balance, self._options.decimals)
        return RawResponse(200, encode_json(ledger.Balance(number, balance_text, None, None, None)))

    async def get_transaction(
        self, uuid: str, request_id: str, grant: Grant, user_id: str | None = None
    ) -> RawResponse:
        """Answer `GET /v1/transaction/{uuid}`. The framework's route calls this method, too.

        The response is 404 if the key may not access the transaction's user, or if `user_id` is the id of another user.
        """
        try:
            number = None if user_id is None else parse_user_id(user_id)
            transaction = await self._reader.get_transaction(parse_uuid(uuid), number)
        except (InvalidRequestError, StoreError) as error:
            return problems.convert_error(error, request_id).build_response(request_id)
        if transaction is None or not grant.includes_user(transaction.user_id):
            return problems.build_transaction_not_found(uuid).build_response(request_id)
        body = build_transaction(
            transaction.uuid,
            transaction.user_id,
            transaction.number,
            transaction.amount,
            transaction.balance,
            transaction.timestamp,
            transaction.recorded_at,
            transaction.outcome,
            self._options.decimals,
        )
        return RawResponse(200, encode_json(body))
