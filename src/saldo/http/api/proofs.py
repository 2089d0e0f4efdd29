"""The routes of proofs and seals, with which a third party can check the log without the database."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Final

from litestar import get
from litestar.openapi.datastructures import ResponseSpec

from saldo.http import problems
from saldo.http.api.context import InjectedContext
from saldo.http.authorization import get_admission, require_all_users, require_shard
from saldo.http.openapi.bodies import DocumentedOperation
from saldo.http.openapi.errors import DATABASE_CODES, describe_problems
from saldo.http.openapi.parameters import After, SealLimit, Shard, Uuid
from saldo.http.problems import ProblemError
from saldo.http.requests import HttpRequest
from saldo.http.responses import RECORDED_NAMES
from saldo.http.schemas import proofs as schemas
from saldo.ledger.model import Entry, Kind
from saldo.ledger.seals import compute_inclusion_path, compute_merkle_root, hash_seal
from saldo.parsing.faults import InvalidField, InvalidRequestError
from saldo.parsing.transactions import parse_after, parse_limit, parse_shard, parse_uuid
from saldo.store.seals import RecordedSeal

_log = logging.getLogger("saldo.http")

_TAGS = ["proofs"]
_KIND_NAMES: Final[dict[Kind, schemas.EntryKind]] = {
    Kind.OPENING: "OPENING",
    Kind.DEPOSIT: "DEPOSIT",
    Kind.WITHDRAWAL: "WITHDRAW",
}


@get(
    "/v1/proof/{uuid:str}",
    summary="Get the proof of a transaction",
    tags=_TAGS,
    operation_class=DocumentedOperation,
    responses={
        200: ResponseSpec(
            schemas.Proof, description="The proof of the transaction.", generate_examples=False
        ),
        **describe_problems(
            *("transaction_not_found", "not_sealed_yet", "seal_broken"),
            *DATABASE_CODES,
            invalid=InvalidField(
                "uuid", "must be a uuid such as ea3015b1-c25c-47e5-beb7-2679ac7c89a7"
            ),
        ),
    },
)
async def get_proof(uuid: Uuid, request: HttpRequest, service: InjectedContext) -> schemas.Proof:
    """Returns a proof that the entry with this uuid is part of the sealed log.

    The proof can be verified without access to the database. Refused and opening entries have proofs, too. If the key
    may not access the user of the transaction, the response is 404."""
    parsed_uuid = parse_uuid(uuid)
    sealed_entry = await service.seals.find_entry(parsed_uuid)
    if sealed_entry is None or not get_admission(request.scope).grant.includes_user(
        sealed_entry.entry.user_id
    ):
        raise ProblemError(problems.build_transaction_not_found(uuid))
    if sealed_entry.seal is None:
        raise ProblemError(problems.build_not_sealed_yet(str(parsed_uuid)))
    proof = build_proof(sealed_entry.entry, sealed_entry.seal, sealed_entry.leaves)
    if proof is None:
        positions = sealed_entry.seal.shard, sealed_entry.seal.first_seq, sealed_entry.seal.last_seq
        _log.error("shard %s: entries %s to %s do not match their seal", *positions)
        raise ProblemError(problems.build_seal_broken(*positions))
    return proof


@get(
    "/v1/seals",
    summary="List seals",
    tags=_TAGS,
    operation_class=DocumentedOperation,
    responses=describe_problems(*DATABASE_CODES, invalid=InvalidField("after", "needs shard")),
)
async def get_seals(
    request: HttpRequest,
    service: InjectedContext,
    shard: Shard = None,
    after: After = None,
    limit: SealLimit = None,
) -> schemas.SealList:
    """Returns the newest seal of each shard. With `shard`, returns all seals of that shard, oldest first.

    Seals that you keep in another place show whether the log was changed later. A key that is limited to some users
    must name the shard of one of them."""
    number, seq = parse_shard(shard), parse_after(after)
    count = parse_limit(limit, service.settings.page_items_default, service.settings.page_items_max)
    if number is None:
        faults = [
            InvalidField(name, "needs shard")
            for name, value in (("after", after), ("limit", limit))
            if value is not None
        ]
        if faults:
            raise InvalidRequestError(faults)
        require_all_users(request.scope)
        last_seals = await service.seals.list_last_seals()
        return schemas.SealList([convert_seal(seal) for seal in last_seals], None)
    require_shard(request.scope, number)
    seals = await service.seals.list_page(number, seq or 0, count + 1)
    has_more = len(seals) > count
    items = [convert_seal(seal) for seal in seals[:count]]
    return schemas.SealList(items, items[-1].last_seq if has_more else None)


PROOF_HANDLERS = [get_proof, get_seals]


def build_proof(entry: Entry, seal: RecordedSeal, leaves: list[bytes]) -> schemas.Proof | None:
    """Return the proof that an entry is part of a seal, or None if the seal does not match the leaf hashes.

    Args:
        leaves: Leaf hashes of all entries that the seal covers, as they are in the log now.
    """
    leaf_index = entry.seq - seal.first_seq
    if not _matches_leaves(seal, leaves):
        return None
    path = compute_inclusion_path(leaves, leaf_index)
    return schemas.Proof(
        1, _convert_entry(entry), leaf_index, [node.hex() for node in path], convert_seal(seal)
    )


def convert_seal(seal: RecordedSeal) -> schemas.Seal:
    """Return a seal in the form that all routes use."""
    return schemas.Seal(
        shard=seal.shard,
        first_seq=seal.first_seq,
        last_seq=seal.last_seq,
        previous=seal.previous.hex(),
        root=seal.root.hex(),
        hash=seal.hash.hex(),
        sealed_at=_format_exact_instant(seal.sealed_at),
    )


def _matches_leaves(seal: RecordedSeal, leaves: list[bytes]) -> bool:
    """Return whether the seal matches these leaf hashes."""
    if (
        len(leaves) != seal.last_seq - seal.first_seq + 1
        or compute_merkle_root(leaves) != seal.root
    ):
        return False
    expected = hash_seal(seal.previous, seal.shard, seal.first_seq, seal.last_seq, seal.root)
    return seal.hash == expected


def _convert_entry(entry: Entry) -> schemas.ProvenEntry:
    return schemas.ProvenEntry(
        shard=entry.shard,
        seq=entry.seq,
        user_id=entry.user_id,
        number=entry.number,
        uuid=entry.uuid,
        kind=_KIND_NAMES[entry.kind],
        outcome=RECORDED_NAMES[entry.outcome],
        amount=entry.amount,
        balance=entry.balance,
        timestamp=None if entry.timestamp is None else _format_exact_instant(entry.timestamp),
        horizon=None if entry.horizon is None else _format_exact_instant(entry.horizon),
        recorded_at=_format_exact_instant(entry.recorded_at),
    )


def _format_exact_instant(instant: datetime) -> str:
    """Format an instant in UTC with all six decimals, so that each instant has one form only."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")
