"""The rules of an audit against the executable specification: valid logs have no fault, and altered ones have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from saldo.ledger.audit.balance_timeline import BalanceTimeline, InstantOutsideTimelineError
from saldo.ledger.audit.rules import (
    NO_ENTRY,
    AuditPosition,
    InvalidEntriesError,
    LedgerFault,
    RawEntry,
    Rule,
    ShardAudit,
    ShardCounts,
    UserState,
    format_microseconds,
    parse_raw_entries,
)
from saldo.ledger.audit.seal_chain import SealChain, SealRow
from saldo.ledger.model import Entry, Kind, LedgerLimits, Outcome, TransactionRequest
from saldo.ledger.seals import (
    FIRST_PREVIOUS,
    compute_merkle_root,
    encode_entry,
    hash_leaf,
    hash_seal,
)
from saldo.ledger.specification import SpecifiedLedger

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SHARD = 1
USERS = [1, 65, 129]
NAMESPACE = UUID(int=1)

few = settings(max_examples=30, deadline=None)
usual = settings(max_examples=100, deadline=None)
many = settings(max_examples=400, deadline=None)

Posts = list[tuple[int, int, int | None, int]]
"""User by index, amount, hours after BEGIN (None for the ledger's time), minutes since the post before."""

posts = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([50, 100, 100, 20, 350, -10, -10, -20, -50, -60, -120]),
        st.sampled_from([*range(7), None]),
        st.sampled_from([0, 0, 1, 30]),
    ),
    min_size=1,
    max_size=30,
)


class LedgerWithoutLateCheck(SpecifiedLedger):
    """A ledger that accepts every late withdrawal, like an external writer whose entries have consistent fields."""

    def _find_lowest_balance(self, user_id: int, date: datetime) -> int:
        return 10**18


def history(made: Posts, ledger: SpecifiedLedger | None = None) -> list[Entry]:
    """Return the shard's log after these posts."""
    ledger = ledger or SpecifiedLedger(LedgerLimits(balance_max=400))
    now = BEGIN + 5 * HOUR
    for user_id in USERS:
        ledger.create_user(user_id, uuid5(NAMESPACE, f"user {user_id}"), now)
    for place, (user, amount, hours, minutes) in enumerate(made):
        now += timedelta(minutes=minutes)
        moment = None if hours is None else BEGIN + hours * HOUR
        uuid = uuid5(NAMESPACE, str(place))
        list(ledger.post([TransactionRequest(uuid, USERS[user], amount, moment)], now))
    entries = [entry for user_id in USERS for entry in ledger.list_entries(user_id)]
    return sorted(entries, key=lambda entry: entry.seq)


def raw(entries: list[Entry]) -> list[RawEntry]:
    return parse_raw_entries(b"".join(map(encode_entry, entries)))


def make_seals(entries: list[Entry], size: int) -> list[SealRow]:
    """Return seals of `size` entries each."""
    seals, previous = [], FIRST_PREVIOUS
    for begin in range(0, len(entries), size):
        part = entries[begin : begin + size]
        root = compute_merkle_root([hash_leaf(encode_entry(entry)) for entry in part])
        first, last = part[0].seq, part[-1].seq
        previous = hash_seal(previous, SHARD, first, last, root)
        seals.append(SealRow(SHARD, first, last, root, previous))
    return seals


def before(entries: list[RawEntry], user_id: int, number: int) -> UserState:
    """Return what the store reads: the user's last entry with a smaller number."""
    found = [e for e in entries if e.user_id == user_id and e.number < number]
    if not found:
        return NO_ENTRY
    last = max(found, key=lambda entry: entry.number)
    return UserState(last.seq, last.number, last.balance, last.horizon)


def rule_faults(
    entries: list[RawEntry], step: int = 7, counted: tuple[int, ShardCounts] = (0, ShardCounts())
) -> list[LedgerFault]:
    """Return the faults that the rules find in the log, read in steps, each with a new state as after a restart."""
    faults: list[LedgerFault] = []
    position = AuditPosition(SHARD)
    for begin in range(0, len(entries), step):
        part = entries[begin : begin + step]
        audit = ShardAudit(position, counted)
        for user_id, number in audit.find_users_without_state(part).items():
            audit.set_user_state(user_id, before(entries, user_id, number))
        for user_id, number, last_number, since in audit.find_late_withdrawals(part):
            posted = [
                entry
                for entry in entries
                if entry.user_id == user_id and entry.outcome == 0 and entry.number <= last_number
            ]
            timeline = BalanceTimeline(since, last_number, [entry.timestamp for entry in posted])
            timeline.add_amounts((e.timestamp, e.amount) for e in posted if e.number < number)
            audit.set_timeline(user_id, timeline)
        faults += audit.check_entries(part)
        position = AuditPosition(SHARD, audit.seq, audit.recorded_at, 0, b"", audit.counts)
    return faults


def seal_faults(entries: list[RawEntry], data: bytes, seals: list[SealRow]) -> list[LedgerFault]:
    """Return the faults that the seals find."""
    chain = SealChain(SHARD, 0, FIRST_PREVIOUS)
    chain.add_entries([entry.seq for entry in entries], data)
    return [fault for seal in seals if (fault := chain.check_seal(seal)) is not None]


@usual
@given(posts, st.integers(1, 40), st.integers(1, 9))
def test_recorded_log_has_no_fault(made: Posts, step: int, size: int) -> None:
    entries = history(made)
    found = raw(entries)
    posted = [entry for entry in entries if entry.outcome is Outcome.POSTED]
    counts = ShardCounts(
        len(USERS),
        len(posted) - len(USERS),
        len(entries) - len(posted),
        sum(entry.amount for entry in posted),
    )
    assert rule_faults(found, step, (len(entries), counts)) == []
    assert seal_faults(found, b"".join(map(encode_entry, entries)), make_seals(entries, size)) == []


@usual
@given(posts, st.integers(0, 10))
def test_counts_that_differ_are_found_at_their_position(made: Posts, place: int) -> None:
    found = raw(history(made))
    seq = found[place % len(found)].seq
    faults = rule_faults(found, counted=(seq, ShardCounts(99)))
    assert [(fault.rule, fault.seq) for fault in faults] == [(Rule.TOTALS, seq)]


ALTERATIONS: dict[str, Callable[[Entry], Entry]] = {
    "balance": lambda entry: replace(entry, balance=entry.balance + 1),
    "balance below": lambda entry: replace(entry, balance=-1),
    "number": lambda entry: replace(entry, number=entry.number + 1),
    "horizon": lambda entry: replace(entry, horizon=BEGIN + 100 * HOUR),
    "no horizon": lambda entry: replace(entry, horizon=BEGIN - HOUR),
    "shard": lambda entry: replace(entry, shard=2),
    "user of another shard": lambda entry: replace(entry, user_id=2),
    "kind": lambda entry: replace(entry, kind=Kind((entry.kind + 1) % 3)),
    "amount beyond": lambda entry: replace(entry, amount=10**15 + 1),
    "zero": lambda entry: replace(entry, amount=1 if entry.kind is Kind.OPENING else 0),
    "far ahead": lambda entry: replace(entry, timestamp=BEGIN + 100 * HOUR),
    "before": lambda entry: replace(entry, recorded_at=BEGIN - HOUR),
}
"""Alterations of one entry, each found by the rules alone, at that entry."""


@pytest.mark.parametrize("name", ALTERATIONS)
@few
@given(posts, st.integers(0, 100), st.integers(1, 40))
def test_an_altered_entry_is_the_first_fault(name: str, made: Posts, place: int, step: int) -> None:
    entries = history(made)
    at = place % len(entries)
    # The very first entry is not after any other.
    assume(at > 0 or name != "before")
    entries[at] = ALTERATIONS[name](entries[at])
    first = rule_faults(raw(entries), step)[0]
    assert (first.seq, first.last_seq, first.uuid) == (at + 1, at + 1, entries[at].uuid)


@usual
@given(posts, st.integers(0, 100), st.integers(1, 40))
def test_an_altered_amount_that_was_posted_is_the_first_fault(
    made: Posts, place: int, step: int
) -> None:
    entries = history(made)
    posted = [entry for entry in entries if entry.outcome is Outcome.POSTED]
    altered = posted[place % len(posted)]
    entries[altered.seq - 1] = replace(altered, amount=altered.amount + 1)
    assert rule_faults(raw(entries), step)[0].seq == altered.seq


@usual
@given(posts, st.integers(0, 100), st.integers(1, 40))
def test_a_missing_entry_is_the_first_fault(made: Posts, place: int, step: int) -> None:
    entries = history(made)
    at = place % (len(entries) - 1)
    del entries[at]
    first = rule_faults(raw(entries), step)[0]
    assert (first.rule, first.seq, first.last_seq) == (Rule.SEQ, at + 1, at + 1)


@usual
@given(posts, st.integers(0, 100), st.integers(1, 40))
def test_exchanged_entries_of_a_user_are_found(made: Posts, place: int, step: int) -> None:
    entries = history(made)
    of_user = [entry for entry in entries if entry.user_id == USERS[0]]
    assume(len(of_user) > 1)
    at = place % (len(of_user) - 1)
    one, other = of_user[at : at + 2]
    entries[one.seq - 1] = replace(other, seq=one.seq, recorded_at=one.recorded_at)
    entries[other.seq - 1] = replace(one, seq=other.seq, recorded_at=other.recorded_at)
    assert rule_faults(raw(entries), step)[0].seq == one.seq


@usual
@given(posts, st.integers(0, 100))
def test_false_refusal_is_found(made: Posts, place: int) -> None:
    entries = history([*made, (0, 100, None, 1), (0, -10, None, 1)])
    in_order = [
        entry
        for entry in entries
        if entry.kind is Kind.WITHDRAWAL
        and entry.outcome is Outcome.POSTED
        and entry.timestamp == entry.horizon
    ]
    entry = in_order[place % len(in_order)]
    earlier = [each for each in entries if each.user_id == entry.user_id][entry.number - 1]
    refused = replace(
        entry,
        outcome=Outcome.INSUFFICIENT_FUNDS,
        balance=earlier.balance,
        horizon=earlier.horizon,
    )
    entries[entry.seq - 1] = refused
    first = rule_faults(raw(entries))[0]
    assert (first.rule, first.seq) == (Rule.REFUSAL, entry.seq)


def test_consistent_negative_balance_is_a_fault() -> None:
    """Check the rule without the constraint, which may have been dropped, too."""
    entries = history([(0, 100, None, 1), (0, -60, None, 1)])
    last = entries[-1]
    entries[-1] = replace(last, amount=-110, balance=-10)
    (fault,) = rule_faults(raw(entries))
    assert (fault.rule, fault.seq) == (Rule.LIMIT, last.seq)


class Mutation(NamedTuple):
    """The log after a change behind the ledger's back, and the first position that was changed."""

    entries: list[Entry]
    seq: int


def _renumber(entries: list[Entry]) -> list[Entry]:
    return [replace(entry, seq=place) for place, entry in enumerate(entries, 1)]


_values = {
    "seq": st.integers(1, 100),
    "user_id": st.sampled_from([*USERS, 193]),
    "number": st.integers(0, 30),
    "uuid": st.uuids(),
    "shard": st.integers(0, 63),
    "kind": st.sampled_from(Kind),
    "outcome": st.sampled_from([outcome for outcome in Outcome if outcome.is_recorded]),
    "amount": st.integers(-400, 400),
    "balance": st.integers(0, 400),
    "timestamp": st.integers(0, 9).map(lambda hours: BEGIN + hours * HOUR),
    "horizon": st.integers(0, 9).map(lambda hours: BEGIN + hours * HOUR),
    "recorded_at": st.integers(0, 9).map(lambda hours: BEGIN + hours * HOUR),
}


@st.composite
def mutations(draw: st.DrawFn, entries: list[Entry]) -> Mutation:
    """Alter a field, delete, exchange or insert entries; seq is made gapless again if it was before."""
    at = draw(st.integers(0, len(entries) - 1))
    changed = [*entries]
    match draw(st.sampled_from(["alter", "delete", "swap", "insert"])):
        case "alter":
            field = draw(st.sampled_from([*_values]))
            value = draw(_values[field])
            assume(value != getattr(entries[at], field))
            altered: Any = {field: value}
            changed[at] = replace(entries[at], **altered)
            if field == "seq":
                at = min(at, value - 1)
        case "delete":
            del changed[at]
            changed = _renumber(changed)
        case "swap":
            assume(at > 0)
            at -= 1
            changed[at : at + 2] = changed[at + 1], changed[at]
            changed = _renumber(changed)
        case _:
            # It is not at the end, where it might be a valid entry.
            at = min(at, len(entries) - 2)
            copy = replace(entries[at], uuid=UUID(int=7), number=entries[at].number + 1)
            changed.insert(at + 1, copy)
            at += 1
            changed = _renumber(changed)
    return Mutation(changed, at + 1)


@many
@given(posts, st.integers(1, 9), st.data())
def test_whatever_is_done_to_a_sealed_log_is_found_in_its_seal(
    made: Posts, size: int, data: st.DataObject
) -> None:
    entries = history(made)
    seals = make_seals(entries, size)
    mutation = data.draw(mutations(entries))
    # The order is the one in which the database returns them.
    read = sorted(mutation.entries, key=lambda entry: entry.seq)
    written = b"".join(map(encode_entry, read))
    faults = rule_faults(raw(read)) + seal_faults(raw(read), written, seals)
    faults.sort(key=lambda fault: fault.last_seq)
    event(faults[0].rule)
    begin = (mutation.seq - 1) // size * size + 1
    assert begin <= faults[0].last_seq <= begin + size


@pytest.mark.parametrize("field", ["first_seq", "last_seq", "root", "hash", None])
@few
@given(posts, st.integers(1, 4), st.integers(0, 100))
def test_an_altered_seal_and_a_missing_one_are_found(
    field: str | None, made: Posts, size: int, place: int
) -> None:
    entries = history(made)
    seals = make_seals(entries, size)
    assume(len(seals) > 1)
    at = place % (len(seals) - 1)
    seal = seals[at]
    if field is None:
        del seals[at]
    else:
        altered: Any = {field: seal.last_seq + 1 if field.endswith("seq") else bytes(32)}
        seals[at] = seal._replace(**altered)
    first = seal_faults(raw(entries), b"".join(map(encode_entry, entries)), seals)[0]
    assert first.rule in {Rule.SEAL, Rule.CHAIN}
    assert first.seq == seal.first_seq


def first_below_zero(entries: list[Entry]) -> int | None:
    """Return the first entry after which its user's balance at some moment is negative, computed from sums."""
    amounts: dict[int, dict[datetime, int]] = defaultdict(lambda: defaultdict(int))
    for entry in entries:
        if entry.outcome is not Outcome.POSTED or entry.timestamp is None:
            continue
        amounts[entry.user_id][entry.timestamp] += entry.amount
        balance = 0
        for _, amount in sorted(amounts[entry.user_id].items()):
            balance += amount
            if balance < 0:
                return entry.seq
    return None


@many
@given(posts, st.integers(1, 40))
def test_the_first_withdrawal_that_makes_an_instant_negative_is_the_first_fault(
    made: Posts, step: int
) -> None:
    entries = history(made, LedgerWithoutLateCheck(LedgerLimits(balance_max=400)))
    expected = first_below_zero(entries)
    event("negative" if expected else "not negative")
    faults = rule_faults(raw(entries), step)
    assert [(fault.rule, fault.seq) for fault in faults[:1]] == (
        [] if expected is None else [(Rule.INSTANT, expected)]
    )


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(-50, 50)), min_size=1, max_size=40),
    st.integers(0, 9),
    st.integers(0, 40),
)
def test_timeline_gives_the_lowest_balance(
    amounts: list[tuple[int, int]], since: int, filled: int
) -> None:
    timeline = BalanceTimeline(since, 0, [instant for instant, _ in amounts])
    timeline.add_amounts(amounts[:filled])
    for instant, amount in amounts[filled:]:
        timeline.add_amount(instant, amount)
    balance, balances = 0, [(0, since)]
    of_instant = sorted((max(instant, since), amount) for instant, amount in amounts)
    for instant, group in groupby(of_instant, key=lambda each: each[0]):
        balance += sum(amount for _, amount in group)
        balances.append((balance, instant))
    if balances[1][1] == since:  # then nothing was before it
        del balances[0]
    assert timeline.lowest_balance == min(balances)[0]
    assert timeline.find_lowest_balance_instant() == min(balances)[1]


def test_timeline_rejects_unknown_instants() -> None:
    timeline = BalanceTimeline(0, 0, [2, 4])
    for instant in (1, 3, 5):
        with pytest.raises(InstantOutsideTimelineError):
            timeline.add_amount(instant, 1)


def test_malformed_entry_bytes_are_rejected() -> None:
    (opening, *_) = history([(0, 50, None, 0)])
    data = encode_entry(opening)
    for wrong in (data[:-1], b"\0\x0b" + data[2:], data + b"\0"):
        with pytest.raises(InvalidEntriesError):
            parse_raw_entries(wrong)
    assert parse_raw_entries(b"") == []


def test_every_instant_can_be_formatted() -> None:
    assert format_microseconds(0) == "2000-01-01T00:00:00+00:00"
    assert format_microseconds(-(2**63)) == "-infinity"
    assert format_microseconds(2**63 - 1) == "infinity"
