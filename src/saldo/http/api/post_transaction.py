"""`POST /v1/transaction`, from the body to the response. The fast route and the framework's route use this module."""

from __future__ import annotations

from typing import Final

from saldo.auth.grants import Grant, Scope
from saldo.encoding.json import encode_json
from saldo.engine.engine import Engine
from saldo.engine.errors import EngineError
from saldo.http import problems
from saldo.http.request_body import is_json
from saldo.http.responses import RawResponse, build_decided_transaction, count_outcome
from saldo.ledger.model import Decision, Outcome, TransactionRequest
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import ParserOptions, parse_transaction

REPLAYED: Final = (("idempotent-replayed", "true"),)


class PostTransactionHandler:
    """The handler of requests to post one transaction."""

    def __init__(self, engine: Engine, options: ParserOptions) -> None:
        self._engine = engine
        self._options = options

    async def post(
        self,
        body: bytes,
        content_type: str,
        idempotency_key: str | None,
        request_id: str,
        grant: Grant,
    ) -> RawResponse:
        """Post the transaction of a body, and return the response after the commit."""
        if not is_json(content_type):
            return problems.build_unsupported_media_type(content_type).build_response(request_id)
        try:
            request = parse_transaction(body, idempotency_key, self._options)
        except InvalidRequestError as error:
            return problems.build_invalid(error.faults).build_response(request_id)
        if not grant.includes_user(request.user_id):
            return problems.build_forbidden_user(request.user_id).build_response(request_id)
        try:
            decision = await self._engine.post(request)
        except EngineError as error:
            return problems.convert_engine_error(error).build_response(request_id)
        count_outcome(decision.outcome, decision.replayed)
        return self._build_response(request, decision, request_id, grant)

    def _build_response(
        self, request: TransactionRequest, decision: Decision, request_id: str, grant: Grant
    ) -> RawResponse:
        decimals = self._options.decimals
        if decision.outcome is not Outcome.POSTED:
            reveal = may_see(grant, decision)
            answer = problems.convert_decision(
                request, decision, decimals, reveal=reveal
            ).build_response(request_id)
            return answer._replace(headers=REPLAYED) if decision.replayed else answer
        body = encode_json(build_decided_transaction(request.uuid, decision, decimals))
        return RawResponse(200, body, headers=REPLAYED if decision.replayed else ())


def may_see(grant: Grant, decision: Decision) -> bool:
    """Return whether the key may read the transaction that is recorded under the uuid."""
    if not grant.allows(Scope.READ):
        return False
    return grant.user_ids is None or decision.user_id in grant.user_ids
