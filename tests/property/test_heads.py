"""Signed heads: every head survives its encoding, every changed byte is found, and so is every change of a history."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from saldo.ledger.audit.head_chain import (
    HeadFile,
    HeadHistory,
    HeadPolicy,
    HeadRule,
    check_heads,
)
from saldo.ledger.heads import (
    NO_SEAL,
    Head,
    HeadReference,
    InvalidHeadError,
    SealEnd,
    SignedHead,
    find_regression,
    parse_head,
    sign_head,
)
from saldo.ledger.model import SEQ_MAX, SHARDS

LEDGER = UUID("0f4f9c3e-5a7e-4a53-8c0d-2f3d0c7c9b11")
BEGIN = datetime(2026, 11, 30, tzinfo=UTC)
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 4)]


def get_public_key(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


hashes = st.binary(min_size=32, max_size=32).filter(any)
epochs = st.from_regex(r"[1-9][0-9]{17,18}-[1-9][0-9]{0,8}(-[0-9a-f]{8})?", fullmatch=True)
ends = st.just(NO_SEAL) | st.builds(SealEnd, st.integers(1, SEQ_MAX), hashes)


@st.composite
def heads(draw: st.DrawFn) -> SignedHead:
    key = draw(st.sampled_from(KEYS))
    previous = draw(
        st.none() | st.builds(HeadReference, epochs, st.integers(1, SEQ_MAX - 1), hashes)
    )
    few = draw(st.lists(ends, max_size=8))
    head = Head(
        ledger=draw(st.uuids()),
        epoch=draw(epochs),
        number=1 if previous is None else previous.number + 1,
        time=draw(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))),
        previous=previous,
        next_key=draw(st.none() | hashes),
        seals=(*few, *[NO_SEAL] * (SHARDS - len(few))),
        key=get_public_key(key),
    )
    return sign_head(head, key)


@given(heads())
def test_head_survives_its_encoding(signed: SignedHead) -> None:
    parsed = parse_head(signed.document)
    assert parsed == signed
    assert parsed.has_valid_signature
    assert signed.hash == sha256(signed.document).digest()


@given(heads(), st.data())
def test_every_changed_byte_is_found(signed: SignedHead, data: st.DataObject) -> None:
    document = bytearray(signed.document)
    place = data.draw(st.integers(0, len(document) - 1))
    document[place] ^= data.draw(st.integers(1, 255))
    assert_not_authentic(bytes(document))


@given(heads(), st.data())
def test_missing_and_additional_bytes_are_found(signed: SignedHead, data: st.DataObject) -> None:
    document = signed.document
    place = data.draw(st.integers(0, len(document)))
    part = data.draw(st.binary(min_size=1, max_size=3))
    assert_not_authentic(document[:place] + part + document[place:])
    if place < len(document):
        assert_not_authentic(document[:place] + document[place + 1 :])


def assert_not_authentic(document: bytes) -> None:
    with contextlib.suppress(InvalidHeadError):
        assert not parse_head(document).has_valid_signature


@given(st.binary(max_size=200))
def test_other_files_are_no_heads(document: bytes) -> None:
    with pytest.raises(InvalidHeadError):
        parse_head(document)


class Published(NamedTuple):
    """A history of heads, with the private key of each and the name of its file."""

    heads: list[SignedHead]

    @property
    def files(self) -> list[HeadFile]:
        return [HeadFile(each.file_name, each.document) for each in self.heads]


@st.composite
def histories(draw: st.DrawFn) -> Published:
    """Return heads of one ledger, with failovers that lose nothing, and with replaced keys."""
    made: list[SignedHead] = []
    key, epoch, seals = KEYS[0], 1, [NO_SEAL] * SHARDS
    steps = st.sampled_from(["seal", "seal", "nothing", "failover", "replace"])
    for step in draw(st.lists(steps, min_size=1, max_size=8)):
        next_key = None
        match step:
            case "seal":
                shard = draw(st.integers(0, SHARDS - 1))
                seq = seals[shard].seq + draw(st.integers(1, 5))
                seals[shard] = SealEnd(seq, sha256(f"{shard} {seq}".encode()).digest())
            case "failover":
                epoch += 1
            case "replace":
                next_key = KEYS[(KEYS.index(key) + 1) % len(KEYS)] if key != KEYS[-1] else None
        made.append(follow(made[-1] if made else None, key, f"1-{epoch}", seals, next_key))
        key = next_key or key
    return Published(made)


def follow(
    previous: SignedHead | None,
    key: Ed25519PrivateKey,
    epoch: str = "1-1",
    seals: list[SealEnd] | None = None,
    next_key: Ed25519PrivateKey | None = None,
) -> SignedHead:
    """Return a head after another one."""
    head = Head(
        ledger=LEDGER,
        epoch=epoch,
        number=1 if previous is None else previous.head.number + 1,
        time=BEGIN if previous is None else previous.head.time + timedelta(minutes=5),
        previous=None if previous is None else previous.reference,
        next_key=None if next_key is None else get_public_key(next_key),
        seals=tuple([NO_SEAL] * SHARDS if seals is None else seals),
        key=get_public_key(key),
    )
    return sign_head(head, key)


def check(files: list[HeadFile]) -> HeadHistory:
    keys = frozenset({get_public_key(KEYS[0])})
    return check_heads(files, HeadPolicy(LEDGER, keys, BEGIN + timedelta(days=1)))


@given(histories(), st.randoms(use_true_random=False))
def test_intact_history_has_no_fault_in_any_order(published: Published, random: object) -> None:
    files = published.files
    random.shuffle(files)  # type: ignore[attr-defined]
    history = check(files)
    assert history.faults == []
    assert history.heads == published.heads
    assert history.newest == published.heads[-1]


@given(histories(), st.data())
def test_missing_head_before_the_newest_is_a_gap(published: Published, data: st.DataObject) -> None:
    files = published.files
    if len(files) == 1:
        return
    missing = data.draw(st.integers(0, len(files) - 2))
    history = check(files[:missing] + files[missing + 1 :])
    rules = {fault.rule for fault in history.faults}
    # If the missing head named another key, or was the only one with the given key, the key is unknown, too.
    assert HeadRule.GAP in rules or HeadRule.KEY in rules
    assert rules <= {HeadRule.GAP, HeadRule.KEY}


@given(histories(), st.data())
def test_file_under_the_name_of_another_is_found(published: Published, data: st.DataObject) -> None:
    files = published.files
    shown = data.draw(st.integers(0, len(files) - 1))
    history = check([*files, HeadFile("head-000000000099-00000000.txt", files[shown].document)])
    assert [fault.rule for fault in history.faults] == [HeadRule.NAME]


@given(histories(), st.data())
def test_rewritten_head_is_a_fork(published: Published, data: st.DataObject) -> None:
    """Sign another head with the number of one, as a second copy of the ledger does."""
    place = data.draw(st.integers(0, len(published.heads) - 1))
    original = published.heads[place].head
    key = next(each for each in KEYS if get_public_key(each) == original.key)
    shard = data.draw(st.integers(0, SHARDS - 1))
    seals = list(original.seals)
    seals[shard] = SealEnd(seals[shard].seq + 100, bytes([7]) * 32)
    other = sign_head(original._replace(seals=tuple(seals)), key)
    history = check([*published.files, HeadFile(other.file_name, other.document)])
    assert HeadRule.FORK in {fault.rule for fault in history.faults}


@given(heads(), heads())
def test_regression_is_found_if_a_shard_goes_back(before: SignedHead, after: SignedHead) -> None:
    goes_back = any(
        new.seq < old.seq or (new.seq == old.seq and new.hash != old.hash)
        for old, new in zip(before.head.seals, after.head.seals, strict=True)
    )
    assert (find_regression(before.head, after.head) is not None) is goes_back
