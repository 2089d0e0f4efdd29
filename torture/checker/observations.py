"""Conclusions from single answers: observations of a user's log, and faults that are certain in any order.

The search for an order (order.py) uses the observations. An answer that is a fault by itself gives no observation, so
that it is reported only once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias, assert_never

from torture.checker.answers import (
    UNRECORDED_REFUSAL_CODES,
    Recorded,
    Unrecorded,
    classify_answer,
    matches_request,
)
from torture.checker.entry import (
    Entry,
    read_entry,
    read_integer,
    read_moment,
    read_money,
    to_moment,
)
from torture.checker.fault import Finding, FindingKind, MalformedError
from torture.checker.final import FinalRead
from torture.history import ListTransactions, Operation, Post, ReadBalance, ReadTransaction


class EntryCountRange(NamedTuple):
    """The observation that the log had from `low` to `high` entries (inclusive). `high` is None if there is no upper
    bound."""

    low: int
    high: int | None


class ObservedBalance(NamedTuple):
    """The observation that the entries of the log gave this balance at `date`. `date` is None for the balance of all
    entries."""

    balance: Decimal
    date: datetime | None


Observation: TypeAlias = EntryCountRange | ObservedBalance


class LocatedObservation(NamedTuple):
    """An observation, and the operation whose answer it comes from."""

    operation: Operation
    observation: Observation


@dataclass(slots=True)
class Observations:
    """The conclusions from all answers of a run about each user's log.

    Attributes:
        of_user: the observations by user id.
        attempts: for each uuid (in lower case), every POST of the uuid and the classification of its answer.
        faults: answers that are wrong by themselves, such as malformed ones.
    """

    of_user: dict[int, list[LocatedObservation]] = field(default_factory=dict)
    attempts: dict[str, list[tuple[Operation, Recorded | Unrecorded]]] = field(default_factory=dict)
    faults: list[Finding] = field(default_factory=list)


def collect_observations(operations: Sequence[Operation], final: FinalRead) -> Observations:
    """Go through all answers once and collect their observations and faults."""
    observations = Observations()
    for operation in operations:
        call = operation.call
        try:
            if operation.answered is not None and operation.answered < operation.invoked:
                raise MalformedError("it was answered before it was invoked")  # noqa: TRY301
            found = _observe(operation, final, observations)
        except MalformedError as error:
            message = f"{describe(operation)}: {error}"
            observations.faults.append(Finding(FindingKind.MALFORMED, call.user_id, message))
            continue
        match found:
            case None:
                pass
            case Finding():
                observations.faults.append(found)
            case (user_id, observation):
                observed = LocatedObservation(operation, observation)
                observations.of_user.setdefault(user_id, []).append(observed)
    return observations


def describe(operation: Operation) -> str:
    """Return a description of an operation: the call, the client, the times and the answer."""
    match call := operation.call:
        case Post():
            what = f"{call.type} {call.amount} of {call.uuid}"
        case ReadBalance():
            what = "read of the balance" + ("" if call.date is None else f" at {call.date}")
        case ReadTransaction():
            what = f"read of {call.uuid}"
        case ListTransactions():
            what = f"list of the newest {call.limit}"
        case _:
            assert_never(call)
    answered = "never answered"
    if operation.answered is not None:
        answered = f"answered at {operation.answered:.6f} with {operation.status}"
        answered += ", replayed" if operation.replayed else ""
    return f"{what} by client {operation.client}, invoked at {operation.invoked:.6f}, {answered}"


_Found: TypeAlias = Finding | tuple[int, Observation] | None


def _observe(operation: Operation, final: FinalRead, observations: Observations) -> _Found:
    call, body = operation.call, operation.body or {}
    if isinstance(call, Post):
        verdict = classify_answer(operation)
        observations.attempts.setdefault(call.uuid.lower(), []).append((operation, verdict))
        return _observe_post(operation, call, verdict, final)
    if operation.answered is None:
        return None
    match call:
        case ReadBalance() if operation.status == 200:
            return _observe_balance(operation, call, body)
        case ReadTransaction() if operation.status in {200, 404}:
            return _observe_transaction(operation, call, final)
        case ListTransactions() if operation.status == 200:
            return _observe_list(operation, call, body, final)
        case _:
            return None


def _observe_post(
    operation: Operation, call: Post, verdict: Recorded | Unrecorded, final: FinalRead
) -> _Found:
    entry = final.by_uuid.get(call.uuid.lower())
    asked = entry is not None and matches_request(call, entry)
    code = (operation.body or {}).get("code")
    if isinstance(verdict, Recorded):
        if verdict.balance < 0:
            return _negative(operation, verdict.balance)
        if entry is None:
            return Finding(FindingKind.LOST, call.user_id, f"{describe(operation)}: it isn't there")
        if not asked:
            kind, message = FindingKind.CHANGED_TRANSACTION, f"what is there is another: {entry}"
            return Finding(kind, call.user_id, f"{describe(operation)}: {message}")
        fault = _compare(operation, verdict, entry)
        return fault or (entry.user_id, EntryCountRange(entry.number, None))
    if verdict is Unrecorded.UNKNOWN:
        return None
    if code == "uuid_conflict":
        if entry is None or asked:
            there = "nothing" if entry is None else f"the same: {entry}"
            message = f"{describe(operation)}: a conflict, and what is there is {there}"
            return Finding(FindingKind.UNEXPLAINED_OUTCOME, call.user_id, message)
        return entry.user_id, EntryCountRange(entry.number, None)
    if code in UNRECORDED_REFUSAL_CODES and entry is not None and asked:
        return entry.user_id, EntryCountRange(0, entry.number - 1)
    return None


def _compare(operation: Operation, answer: Recorded, entry: Entry) -> Finding | None:
    """Return a fault if an acknowledged transaction differs from the recorded one."""
    if answer.outcome != entry.outcome:
        kind = FindingKind.CHANGED_OUTCOME
    elif (answer.number, answer.balance) != (entry.number, entry.balance) or (
        answer.entry not in {None, entry}
    ):
        kind = FindingKind.CHANGED_TRANSACTION
    else:
        return None
    message = f"{describe(operation)}: it said {answer}, and what is there is {entry!r}"
    return Finding(kind, entry.user_id, message)


def _observe_balance(operation: Operation, call: ReadBalance, body: Mapping[str, Any]) -> _Found:
    balance = read_money(body, "balance")
    if read_integer(body, "user_id") != call.user_id:
        raise MalformedError("it is another user's")
    if balance < 0:
        return _negative(operation, balance)
    if call.date is None:
        return call.user_id, ObservedBalance(balance, None)
    # A date without an offset is in the service's time zone; the answer contains the resolved time.
    date, asked = read_moment(body, "date"), to_moment(call.date)
    if asked is not None and asked.tzinfo is not None and asked != date:
        raise MalformedError(f"it is of another moment, {date}")
    return call.user_id, ObservedBalance(balance, date)


def _observe_transaction(operation: Operation, call: ReadTransaction, final: FinalRead) -> _Found:
    there = final.by_uuid.get(call.uuid.lower())
    if operation.status == 404:
        return None if there is None else (there.user_id, EntryCountRange(0, there.number - 1))
    read = read_entry(operation.body or {})
    if read.uuid != call.uuid.lower():
        raise MalformedError("it is another transaction")
    if fault := _compare_read(operation, read, there):
        return fault
    return read.user_id, EntryCountRange(read.number, None)


def _observe_list(
    operation: Operation, call: ListTransactions, body: Mapping[str, Any], final: FinalRead
) -> _Found:
    items = body.get("items")
    if not isinstance(items, list):
        raise MalformedError("there are no items")
    page = [read_entry(item) for item in items]
    for read in page:
        if fault := _compare_read(operation, read, final.by_uuid.get(read.uuid)):
            return fault
        if read.user_id != call.user_id:
            raise MalformedError(f"{read} is user {read.user_id}'s")
    more = body.get("next_cursor") is not None
    if not page:
        return None if more else (call.user_id, EntryCountRange(0, 0))
    newest = page[0].number
    if [read.number for read in page] != [*range(newest, newest - len(page), -1)]:
        raise MalformedError("its numbers don't fall one by one")
    # A page may be shorter than its limit if it has a cursor to continue from.
    if len(page) > call.limit or (not more and page[-1].number != 1):
        raise MalformedError(f"{len(page)} from number {newest} on is not the newest page")
    return call.user_id, EntryCountRange(newest, newest)


def _compare_read(operation: Operation, read: Entry, there: Entry | None) -> Finding | None:
    if read.balance < 0:
        return _negative(operation, read.balance)
    if there is None:
        message = f"{describe(operation)}: it had {read}, which isn't there"
        return Finding(FindingKind.LOST, read.user_id, message)
    return _compare(
        operation, Recorded(read.outcome, read.number, read.balance, False, read), there
    )


def _negative(operation: Operation, balance: Decimal) -> Finding:
    message = f"{describe(operation)}: the balance is {balance}"
    return Finding(FindingKind.NEGATIVE_BALANCE, operation.call.user_id, message)
