"""`POST /v1/transaction`: from the body's bytes to the answer's. Used by both of its routes."""

from __future__ import annotations

from typing import Final

import msgspec

from saldo.access.grant import Grant, Scope
from saldo.engine.engine import Engine
from saldo.engine.errors import EngineError
from saldo.http import problems
from saldo.http.answers import Answer, count_outcome, decided_answer
from saldo.http.wire import InvalidError, Reading, parse_transaction
from saldo.ledger.model import Decision, Outcome, TransactionRequest

REPLAYED: Final = (("idempotent-replayed", "true"),)

_encoder = msgspec.json.Encoder()


class Transactions:
    """Posts what a body asks for."""

    def __init__(self, engine: Engine, reading: Reading) -> None:
        self._engine = engine
        self._reading = reading

    async def post(
        self,
        body: bytes,
        content_type: str,
        idempotency_key: str | None,
        request_id: str,
        grant: Grant,
    ) -> Answer:
        """The answer to one POST. Never before the commit."""
        if not is_json(content_type):
            return unsupported_media_type(content_type, request_id)
        try:
            request = parse_transaction(body, idempotency_key, self._reading)
        except InvalidError as error:
            return problems.invalid(error.faults).answer(request_id)
        if not grant.covers(request.user_id):
            return problems.forbidden_user(request.user_id).answer(request_id)
        try:
            decision = await self._engine.post(request)
        except EngineError as error:
            return problems.not_decided(error).answer(request_id)
        count_outcome(decision.outcome, decision.replayed)
        return self._answer(request, decision, request_id, grant)

    def _answer(
        self, request: TransactionRequest, decision: Decision, request_id: str, grant: Grant
    ) -> Answer:
        decimals = self._reading.decimals
        if decision.outcome is not Outcome.POSTED:
            reveal = may_see(grant, decision)
            answer = problems.refused(request, decision, decimals, reveal=reveal).answer(request_id)
            return answer._replace(headers=REPLAYED) if decision.replayed else answer
        body = _encoder.encode(decided_answer(request.uuid, decision, decimals))
        return Answer(200, body, headers=REPLAYED if decision.replayed else ())


def may_see(grant: Grant, decision: Decision) -> bool:
    """Whether who posts may be told what is recorded under the uuid."""
    return grant.allows(Scope.READ) and (decision.user_id is None or grant.covers(decision.user_id))


def is_json(content_type: str) -> bool:
    """Whether a content type is JSON's. None given is taken for JSON."""
    if content_type in {"application/json", ""}:
        return True
    media_type, _, parameters = content_type.lower().partition(";")
    media_type = media_type.strip()
    charset = parameters.strip().removeprefix("charset=").strip('" ')
    json = media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
    return json and (not parameters.strip().startswith("charset=") or charset in {"utf-8", "utf8"})


def unsupported_media_type(
    content_type: str, request_id: str, expected: str = "JSON in UTF-8, as application/json"
) -> Answer:
    """415."""
    return problems.problem(
        "unsupported_media_type",
        f"The Content-Type is {content_type[:100]!r}; send {expected}.",
        request_id=request_id,
        errors=[{"field": "Content-Type", "message": f"must be {expected}"}],
    )
