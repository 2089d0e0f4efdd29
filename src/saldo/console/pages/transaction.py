"""The page of one transaction, with the proof that it is part of the log."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from litestar import Response
from litestar.params import FromPath

from saldo.console.middleware import PageNotFoundError
from saldo.console.page import ConsolePage, InjectedPage, page_route, parse_query
from saldo.encoding.json import encode_json
from saldo.http.api.proofs import proof_of
from saldo.http.authorization import CONSOLE_PATH
from saldo.http.schemas import proofs
from saldo.parsing.faults import InvalidError
from saldo.parsing.transactions import parse_uuid
from saldo.store.reader import Transaction
from saldo.store.seals import SealedEntry

TRANSACTIONS_PATH: Final = f"{CONSOLE_PATH}/transactions"

_log = logging.getLogger("saldo.console")


class EntryProof(NamedTuple):
    """An entry with its seal.

    Attributes:
        proof: The proof, or None if the entry is not sealed yet or does not match its seal.
    """

    sealed: SealedEntry
    proof: proofs.Proof | None


@page_route(f"{TRANSACTIONS_PATH}/{{uuid:str}}")
async def show_transaction(page: InjectedPage, uuid: FromPath[str]) -> Response[bytes]:
    """Show a transaction with its outcome and its proof."""
    done = parse_query(page.request, "done").get("done", "")
    found = await _transaction(page, uuid)
    user = await page.service.reader.get_user(found.user_id)
    if user is None:
        raise PageNotFoundError
    proven = await _find_proof(page, found)
    return page.render("transaction.html", item=found, user=user, done=done, proven=proven)


@page_route(f"{TRANSACTIONS_PATH}/{{uuid:str}}/proof")
async def download_proof(page: InjectedPage, uuid: FromPath[str]) -> Response[bytes]:
    """Return the proof as a file, with the same bytes as `GET /v1/proof/{uuid}`."""
    found = await _transaction(page, uuid)
    proven = await _find_proof(page, found)
    if proven is None or proven.proof is None:
        raise PageNotFoundError
    name = f'attachment; filename="saldo-proof-{found.uuid}.json"'
    headers = {"content-disposition": name}
    return Response(encode_json(proven.proof), media_type="application/json", headers=headers)


HANDLERS = [show_transaction, download_proof]


async def _transaction(page: ConsolePage, uuid: str) -> Transaction:
    """Return a transaction.

    Raises:
        NotFoundError: The transaction does not exist, or the key does not cover its user.
    """
    try:
        found = await page.service.reader.get_transaction(parse_uuid(uuid))
    except InvalidError:
        raise PageNotFoundError from None
    if found is None or not page.grant.includes_user(found.user_id):
        raise PageNotFoundError
    return found


async def _find_proof(page: ConsolePage, found: Transaction) -> EntryProof | None:
    """Return an entry with its seal and proof, or None if this ledger has no seals."""
    sealed = await page.service.seals.find_entry(found.uuid)
    if sealed is None or (sealed.seal is None and not page.service.settings.seals_enabled):
        return None
    if sealed.seal is None:
        return EntryProof(sealed, None)
    proof = proof_of(sealed.entry, sealed.seal, sealed.leaves)
    if proof is None:
        _log.error("the seal of transaction %s does not cover its entry", found.uuid)
    return EntryProof(sealed, proof)
