"""Each fault of published heads, found by the check that needs no database."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from saldo.ledger.audit.head_chain import (
    HeadFile,
    HeadHistory,
    HeadPolicy,
    HeadRule,
    check_heads,
)
from saldo.ledger.heads import (
    InvalidHeadError,
    SealEnd,
    SignedHead,
    parse_head,
    parse_public_key,
    sign_head,
)
from saldo.ledger.seals import FIRST_PREVIOUS
from tests.property.test_heads import BEGIN, KEYS, LEDGER, follow, get_public_key

OLD, NEW, STRANGER = KEYS
DAY = timedelta(days=1)


def make_chain(count: int, after: SignedHead | None = None, epoch: str = "1-1") -> list[SignedHead]:
    chain = []
    for _ in range(count):
        after = follow(after, OLD, epoch)
        chain.append(after)
    return chain


def check(*heads: SignedHead, **policy: object) -> HeadHistory:
    values = {"ledger": LEDGER, "keys": frozenset({get_public_key(OLD)}), "now": BEGIN + DAY}
    files = [HeadFile(each.file_name, each.document) for each in heads]
    return check_heads(files, HeadPolicy(**(values | policy)))  # type: ignore[arg-type]


def list_rules(history: HeadHistory) -> list[HeadRule]:
    return [fault.rule for fault in history.faults]


def test_intact_chain_has_no_fault() -> None:
    chain = make_chain(5)
    history = check(*chain)
    assert history == HeadHistory([], chain, chain[-1])


def test_no_heads_are_a_gap() -> None:
    assert list_rules(check()) == [HeadRule.GAP]


@pytest.mark.parametrize(
    ("missing", "named"), [((0,), "no head 1 "), ((2, 3), "no head 3 to 4 "), ((1,), "no head 2 ")]
)
def test_gap_names_the_missing_heads(missing: tuple[int, ...], named: str) -> None:
    chain = make_chain(6)
    history = check(*(head for place, head in enumerate(chain) if place not in missing))
    (fault,) = history.faults
    assert fault.rule == HeadRule.GAP
    assert fault.found.startswith(named)


def test_second_head_with_one_number_is_a_fork() -> None:
    chain = make_chain(3)
    other = follow(chain[1], OLD, seals=[SealEnd(1, bytes([1]) * 32), *chain[1].head.seals[1:]])
    history = check(*chain, other)
    assert list_rules(history) == [HeadRule.FORK]
    assert set(history.heads) == {*chain, other}


def test_head_of_another_ledger_is_found_and_left_out() -> None:
    chain = make_chain(2)
    other = sign_head(chain[-1].head._replace(ledger=UUID(int=1)), OLD)
    history = check(*chain, other)
    assert list_rules(history) == [HeadRule.LEDGER]
    assert history.heads == chain


def test_broken_chain_is_found() -> None:
    chain = make_chain(2)
    rewritten = sign_head(chain[1].head._replace(time=BEGIN + DAY / 2), OLD)
    last = follow(rewritten, OLD)
    assert list_rules(check(*chain, last)) == [HeadRule.CHAIN]


def test_reference_with_another_number_is_a_broken_chain() -> None:
    first, second = make_chain(2)
    assert second.head.previous is not None
    reference = second.head.previous._replace(epoch="1-9")
    altered = sign_head(second.head._replace(previous=reference), OLD)
    assert HeadRule.CHAIN in list_rules(check(first, altered))


def test_shard_that_goes_back_is_a_broken_chain() -> None:
    seals = [SealEnd(9, bytes([1]) * 32), *make_chain(1)[0].head.seals[1:]]
    first = follow(None, OLD, seals=seals)
    for end in (SealEnd(8, bytes([1]) * 32), SealEnd(9, bytes([2]) * 32)):
        second = follow(first, OLD, seals=[end, *seals[1:]])
        assert list_rules(check(first, second)) == [HeadRule.CHAIN]


def test_time_that_goes_back_is_found() -> None:
    first, second = make_chain(2)
    altered = sign_head(second.head._replace(time=first.head.time), OLD)
    assert list_rules(check(first, altered)) == [HeadRule.TIME]


def test_head_from_the_future_is_found() -> None:
    chain = make_chain(2)
    assert list_rules(check(*chain, now=BEGIN - DAY)) == [HeadRule.TIME]


def test_old_newest_head_is_a_fault_only_with_a_maximum_age() -> None:
    chain = make_chain(2)
    assert check(*chain).faults == []
    assert list_rules(check(*chain, age_max=timedelta(hours=1))) == [HeadRule.AGE]
    assert check(*chain, age_max=2 * DAY).faults == []


class TestKeys:
    def test_key_that_the_head_before_names_is_trusted(self) -> None:
        first = follow(None, OLD, next_key=NEW)
        second = follow(first, NEW)
        third = follow(second, NEW)
        assert check(first, second, third).faults == []

    def test_key_that_no_head_names_is_found_and_its_heads_are_left_out(self) -> None:
        first = follow(None, OLD)
        second = follow(first, STRANGER)
        third = follow(second, STRANGER)
        history = check(first, second, third)
        assert HeadRule.KEY in list_rules(history)
        assert HeadRule.FORK not in list_rules(history)
        assert history.heads == [first]

    def test_first_head_needs_a_given_key(self) -> None:
        first = follow(None, STRANGER)
        assert list_rules(check(first)) == [HeadRule.KEY, HeadRule.GAP]

    def test_given_key_replaces_a_lost_one(self) -> None:
        first = follow(None, OLD)
        second = follow(first, NEW)
        assert list_rules(check(first, second)) == [HeadRule.KEY]
        given = frozenset(map(get_public_key, (OLD, NEW)))
        assert check(first, second, keys=given).faults == []

    def test_replaced_key_must_not_sign_again(self) -> None:
        first = follow(None, OLD, next_key=NEW)
        second = follow(first, NEW)
        third = follow(second, OLD)
        assert list_rules(check(first, second, third)) == [HeadRule.KEY]
        assert list_rules(check(first, follow(first, OLD))) == [HeadRule.KEY]

    def test_key_named_before_a_gap_is_trusted_after_it(self) -> None:
        first = follow(None, OLD, next_key=NEW)
        third = follow(follow(first, NEW), NEW)
        assert list_rules(check(first, third)) == [HeadRule.GAP]
        by_old = follow(follow(first, NEW), OLD)
        assert list_rules(check(first, by_old)) == [HeadRule.KEY]

    def test_signature_of_another_key_is_found(self) -> None:
        (first,) = make_chain(1)
        forged = bytearray(first.document)
        forged[-3] ^= 1
        files = [HeadFile(first.file_name, bytes(forged))]
        policy = HeadPolicy(LEDGER, frozenset({get_public_key(OLD)}), BEGIN)
        rules = [fault.rule for fault in check_heads(files, policy).faults]
        assert rules[0] in {HeadRule.SIGNATURE, HeadRule.FORMAT}


class TestRestores:
    def test_epoch_that_starts_from_the_newest_head_is_no_fault(self) -> None:
        old = make_chain(3)
        new = make_chain(2, old[-1], "1-2")
        assert check(*old, *new).faults == []

    def test_epoch_that_cuts_off_heads_is_found_unless_the_verifier_knows_of_it(self) -> None:
        old = make_chain(5)
        new = make_later_chain(old[2])
        history = check(*old, *new)
        (fault,) = history.faults
        assert fault.rule == HeadRule.RESTORE
        assert "to start from head 3" in fault.found
        assert "to start from head 5" in fault.expected
        assert history.heads == [*old[:3], *new]
        known = check(*old, *new, known_epochs=frozenset({"1-2"}))
        assert known == HeadHistory([], [*old[:3], *new], new[-1])

    def test_old_epoch_that_goes_on_is_a_fork(self) -> None:
        old = make_chain(5)
        new = make_chain(2, old[2], "1-2")
        known = check(*old, *new, known_epochs=frozenset({"1-2"}))
        assert list_rules(known) == [HeadRule.FORK]

    def test_second_restore_cuts_off_the_first(self) -> None:
        old = make_chain(2)
        one = make_later_chain(old[-1], "1-2")
        two = make_later_chain(old[-1], "1-3", hours=2)
        history = check(*old, *one, *two)
        assert list_rules(history) == [HeadRule.RESTORE]
        assert "1-3" in history.faults[0].found
        assert history.newest == two[-1]

    def test_epoch_that_starts_twice_is_a_fork(self) -> None:
        old = make_chain(4)
        one = make_later_chain(old[1])
        two = make_later_chain(old[3])
        known = check(*old, *one, *two, known_epochs=frozenset({"1-2"}))
        assert HeadRule.FORK in list_rules(known)


def make_later_chain(after: SignedHead, epoch: str = "1-2", hours: int = 1) -> list[SignedHead]:
    """Return two heads of an epoch that begins an hour after the other one has ended."""
    first = follow(after, OLD, epoch)
    first = sign_head(first.head._replace(time=after.head.time + hours * timedelta(hours=1)), OLD)
    return [first, follow(first, OLD, epoch)]


def test_unreadable_files_are_named_with_the_reason() -> None:
    (head,) = make_chain(1)
    other_version = head.document.replace(b"saldo-head 1", b"saldo-head 2")
    files = {"notes.txt": b"hello", "large": bytes(100_000), "v2": other_version}
    policy = HeadPolicy(LEDGER, frozenset({get_public_key(OLD)}), BEGIN)
    history = check_heads([HeadFile(*each) for each in files.items()], policy)
    assert [(fault.file, fault.rule) for fault in history.faults[:3]] == [
        (name, HeadRule.FORMAT) for name in files
    ]
    assert "version 2" in history.faults[2].found
    with pytest.raises(InvalidHeadError, match="version 2"):
        parse_head(other_version)


def test_impossible_heads_are_rejected() -> None:
    (head,) = make_chain(1)
    content = head.head
    for impossible in (
        content._replace(number=2),
        content._replace(number=2**63),
        content._replace(seals=content.seals[1:]),
        content._replace(seals=(SealEnd(0, bytes([1]) * 32), *content.seals[1:])),
        content._replace(seals=(SealEnd(3, FIRST_PREVIOUS), *content.seals[1:])),
        content._replace(seals=(SealEnd(2**63, bytes([1]) * 32), *content.seals[1:])),
        content._replace(epoch="1 2"),
        content._replace(key=get_public_key(NEW)),
    ):
        with pytest.raises(InvalidHeadError):
            sign_head(impossible, OLD)


@pytest.mark.parametrize("text", ["", "ab", "AB" * 32, "ab" * 33, "ab" * 32 + "\n", "zz" * 32])
def test_wrong_public_keys_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        parse_public_key(text)
    assert parse_public_key("ab" * 32) == bytes.fromhex("ab" * 32)
