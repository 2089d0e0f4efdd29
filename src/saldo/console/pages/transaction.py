"""The page of one transaction, with the proof that it is part of the log."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from litestar import Response
from litestar.params import FromPath

from saldo.console.middleware import PageNotFoundError
from saldo.console.page import ConsolePage, InjectedPage, page_route, parse_query
from saldo.encoding.json import encode_json
from saldo.http.api.proofs import build_proof
from saldo.http.authorization import CONSOLE_PATH
from saldo.http.schemas import proofs
from saldo.parsing.faults import InvalidRequestError
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

    sealed_entry: SealedEntry
    proof: proofs.Proof | None


@page_route(f"{TRANSACTIONS_PATH}/{{uuid:str}}")
async def show_transaction(page: InjectedPage, uuid: FromPath[str]) -> Response[bytes]:
    """Show a transaction with its outcome and its proof."""
    done = parse_query(page.request, "done").get("done", "")
    transaction = await _find_transaction(page, uuid)
    user = await page.service.reader.get_user(transaction.user_id)
    if user is None:
        raise PageNotFoundError
    entry_proof = await _find_proof(page, transaction)
    return page.render(
        "transaction.html", item=transaction, user=user, done=done, entry_proof=entry_proof
    )


@page_route(f"{TRANSACTIONS_PATH}/{{uuid:str}}/proof")
async def download_proof(page: InjectedPage, uuid: FromPath[str]) -> Response[bytes]:
    """Return the proof as a file, with the same bytes as `GET /v1/proof/{uuid}`."""
    transaction = await _find_transaction(page, uuid)
    entry_proof = await _find_proof(page, transaction)
    if entry_proof is None or entry_proof.proof is None:
        raise PageNotFoundError
    disposition = f'attachment; filename="saldo-proof-{transaction.uuid}.json"'
    headers = {"content-disposition": disposition}
    return Response(encode_json(entry_proof.proof), media_type="application/json", headers=headers)


HANDLERS = [show_transaction, download_proof]


async def _find_transaction(page: ConsolePage, uuid: str) -> Transaction:
    """Return a transaction.

    Raises:
        PageNotFoundError: The transaction does not exist, or the key may not access its user.
    """
    try:
        transaction = await page.service.reader.get_transaction(parse_uuid(uuid))
    except InvalidRequestError:
        raise PageNotFoundError from None
    if transaction is None or not page.grant.includes_user(transaction.user_id):
        raise PageNotFoundError
    return transaction


async def _find_proof(page: ConsolePage, transaction: Transaction) -> EntryProof | None:
    """Return an entry with its seal and proof. Return None if sealing is disabled and the entry has no seal."""
    sealed_entry = await page.service.seals.find_entry(transaction.uuid)
    if sealed_entry is None or (
        sealed_entry.seal is None and not page.service.settings.seals_enabled
    ):
        return None
    if sealed_entry.seal is None:
        return EntryProof(sealed_entry, None)
    proof = build_proof(sealed_entry.entry, sealed_entry.seal, sealed_entry.leaves)
    if proof is None:
        _log.error("the seal of transaction %s does not cover its entry", transaction.uuid)
    return EntryProof(sealed_entry, proof)
