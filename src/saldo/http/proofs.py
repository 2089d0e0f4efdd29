"""The routes of proofs and seals: what a third party needs to check the log without the database."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Final

from litestar import get
from litestar.openapi.datastructures import ResponseSpec

from saldo.http import problems
from saldo.http import proof_schemas as schemas
from saldo.http.access import admission_of
from saldo.http.answers import RECORDED_NAMES
from saldo.http.examples import READING, problem_specs
from saldo.http.operations import Documented
from saldo.http.parameters import After, Limit, Shard, Uuid
from saldo.http.routes import AnswerError, Asked, Given, request_id
from saldo.http.wire import Fault, InvalidError, parse_after, parse_limit, parse_shard, parse_uuid
from saldo.ledger.model import Entry, Kind
from saldo.ledger.seal import inclusion_path, merkle_root, seal_hash
from saldo.store.seals import Seal

_log = logging.getLogger("saldo.http")

_TAGS = ["proofs"]
_KIND_NAMES: Final[dict[Kind, schemas.EntryKind]] = {
    Kind.OPENING: "OPENING",
    Kind.DEPOSIT: "DEPOSIT",
    Kind.WITHDRAWAL: "WITHDRAW",
}


@get(
    "/v1/proof/{uuid:str}",
    summary="That a transaction is in the log",
    tags=_TAGS,
    operation_class=Documented,
    responses={
        200: ResponseSpec(schemas.Proof, description="The proof.", generate_examples=False),
        **problem_specs(
            *("transaction_not_found", "not_sealed_yet", "seal_broken"),
            *READING,
            invalid=Fault("uuid", "must be a uuid such as ea3015b1-c25c-47e5-beb7-2679ac7c89a7"),
        ),
    },
)
async def get_proof(uuid: Uuid, request: Asked, service: Given) -> schemas.Proof:
    """An inclusion proof of the entry under a uuid, a refused one or an opening one too: what is needed to check
    without the database that it is part of what was sealed. One of a user that the key is not about is not found."""
    wanted = parse_uuid(uuid)
    found = await service.seals.entry(wanted)
    if found is None or not admission_of(request.scope).grant.covers(found.entry.user_id):
        raise AnswerError(problems.transaction_not_found(uuid).answer(request_id(request)))
    if found.seal is None:
        raise AnswerError(problems.not_sealed_yet(str(wanted)).answer(request_id(request)))
    proof = proof_of(found.entry, found.seal, found.leaves)
    if proof is None:
        positions = found.seal.shard, found.seal.first_seq, found.seal.last_seq
        _log.error("shard %s: entries %s to %s are not those that were sealed", *positions)
        raise AnswerError(problems.seal_broken(*positions).answer(request_id(request)))
    return proof


@get(
    "/v1/seals",
    summary="Seals",
    tags=_TAGS,
    operation_class=Documented,
    responses=problem_specs(*READING, invalid=Fault("after", "needs shard")),
)
async def get_seals(
    service: Given, shard: Shard = None, after: After = None, limit: Limit = None
) -> schemas.SealList:
    """The newest seal of each shard: kept elsewhere, they show whether history up to them is changed. With `shard`,
    its seals in their order: the chain from one that is proven to one that was kept."""
    number, seq = parse_shard(shard), parse_after(after)
    count = parse_limit(limit, service.settings.page_items_default, service.settings.page_items_max)
    if number is None:
        faults = [
            Fault(name, "needs shard")
            for name, given in (("after", after), ("limit", limit))
            if given is not None
        ]
        if faults:
            raise InvalidError(faults)
        newest = await service.seals.newest()
        return schemas.SealList([write_seal(each) for each in newest], None)
    found = await service.seals.page(number, seq or 0, count + 1)
    more = len(found) > count
    items = [write_seal(each) for each in found[:count]]
    return schemas.SealList(items, items[-1].last_seq if more else None)


PROOF_HANDLERS = [get_proof, get_seals]


def proof_of(entry: Entry, seal: Seal, leaves: list[bytes]) -> schemas.Proof | None:
    """The proof that an entry is in a seal; None: the seal is not over these entries.

    Args:
        leaves: the leaf hashes of the entries that stand at the seal's positions.
    """
    leaf_index = entry.seq - seal.first_seq
    if not _holds(seal, leaves):
        return None
    path = inclusion_path(leaves, leaf_index)
    return schemas.Proof(
        1, _entry(entry), leaf_index, [each.hex() for each in path], write_seal(seal)
    )


def write_seal(seal: Seal) -> schemas.Seal:
    """A seal as every route writes it."""
    return schemas.Seal(
        shard=seal.shard,
        first_seq=seal.first_seq,
        last_seq=seal.last_seq,
        previous=seal.previous.hex(),
        root=seal.root.hex(),
        hash=seal.hash.hex(),
        sealed_at=_exact(seal.sealed_at),
    )


def _holds(seal: Seal, leaves: list[bytes]) -> bool:
    """Whether these are the entries that were sealed."""
    if len(leaves) != seal.last_seq - seal.first_seq + 1 or merkle_root(leaves) != seal.root:
        return False
    expected = seal_hash(seal.previous, seal.shard, seal.first_seq, seal.last_seq, seal.root)
    return seal.hash == expected


def _entry(entry: Entry) -> schemas.ProvenEntry:
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
        timestamp=None if entry.timestamp is None else _exact(entry.timestamp),
        horizon=None if entry.horizon is None else _exact(entry.horizon),
        recorded_at=_exact(entry.recorded_at),
    )


def _exact(instant: datetime) -> str:
    """In one form for each instant: no digits left out."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")
