"""One transaction, and the proof that it is part of the log."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

import msgspec
from litestar import Response
from litestar.params import FromPath

from saldo.console.gate import NotFoundError
from saldo.console.page import Given, Page, query_of, shows
from saldo.http import proof_schemas
from saldo.http.access import CONSOLE_PATH
from saldo.http.proofs import proof_of
from saldo.http.wire import InvalidError, parse_uuid
from saldo.store.reader import Transaction
from saldo.store.seals import SealedEntry

TRANSACTIONS_PATH: Final = f"{CONSOLE_PATH}/transactions"

_log = logging.getLogger("saldo.console")
_encode: Final = msgspec.json.Encoder().encode


class Proven(NamedTuple):
    """An entry with its seal. proof: None: it is not sealed yet, or what is sealed is not this."""

    sealed: SealedEntry
    proof: proof_schemas.Proof | None


@shows(f"{TRANSACTIONS_PATH}/{{uuid:str}}")
async def show_transaction(page: Given, uuid: FromPath[str]) -> Response[bytes]:
    """What was asked, what became of it, and its proof."""
    done = query_of(page.request, "done").get("done", "")
    found = await _transaction(page, uuid)
    user = await page.service.reader.user(found.user_id)
    if user is None:
        raise NotFoundError
    proven = await _proven(page, found)
    return page.show("transaction.html", item=found, user=user, done=done, proven=proven)


@shows(f"{TRANSACTIONS_PATH}/{{uuid:str}}/proof")
async def download_proof(page: Given, uuid: FromPath[str]) -> Response[bytes]:
    """The same bytes as of `GET /v1/proof/{uuid}`."""
    found = await _transaction(page, uuid)
    proven = await _proven(page, found)
    if proven is None or proven.proof is None:
        raise NotFoundError
    name = f'attachment; filename="saldo-proof-{found.uuid}.json"'
    headers = {"content-disposition": name}
    return Response(_encode(proven.proof), media_type="application/json", headers=headers)


HANDLERS = [show_transaction, download_proof]


async def _transaction(page: Page, uuid: str) -> Transaction:
    """One of a user that the key is not about is not found."""
    try:
        found = await page.service.reader.transaction(parse_uuid(uuid))
    except InvalidError:
        raise NotFoundError from None
    if found is None or not page.grant.covers(found.user_id):
        raise NotFoundError
    return found


async def _proven(page: Page, found: Transaction) -> Proven | None:
    """None: this ledger is not sealed."""
    sealed = await page.service.seals.entry(found.uuid)
    if sealed is None or (sealed.seal is None and not page.service.settings.seals):
        return None
    if sealed.seal is None:
        return Proven(sealed, None)
    proof = proof_of(sealed.entry, sealed.seal, sealed.leaves)
    if proof is None:
        _log.error("the seal of %s is not over this entry", found.uuid)
    return Proven(sealed, proof)
