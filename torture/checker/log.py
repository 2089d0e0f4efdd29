"""Check of the final log by itself: whether the rules of a ledger can have produced it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from torture.checker.entry import (
    BALANCE_ABOVE_MAXIMUM,
    INSUFFICIENT_FUNDS,
    POSTED,
    ZERO,
    Account,
    Entry,
)
from torture.checker.fault import Finding, FindingKind
from torture.checker.final import FinalRead
from torture.checker.timeline import Balances


def check_log(final: FinalRead) -> Iterator[Finding]:
    """Yield the faults of all users' logs.

    Some kinds of fault cause further faults of the same kind. Of these kinds, only the first fault of each user is
    reported.
    """
    yield from _check_uuids(final)
    yield from _check_maximum(final)
    for account in final.accounts.values():
        yield from _check_owner(account)
        yield from _check_numbers(account)
        yield from _check_times(account)
        yield from _check_sums(account)
        yield from _check_moments(account)


def has_gap(account: Account) -> bool:
    """Return whether the numbers of a log differ from 1, 2, 3 …"""
    return any(entry.number != place for place, entry in enumerate(account.entries, 1))


def _check_uuids(final: FinalRead) -> Iterator[Finding]:
    for account in final.accounts.values():
        seen: set[str] = set()
        for entry in account.entries:
            first = final.by_uuid[entry.uuid]
            if entry.uuid in seen or first.user_id != entry.user_id:
                yield Finding(
                    FindingKind.DOUBLED,
                    entry.user_id,
                    f"{entry} has the uuid of user {first.user_id}'s {first}",
                )
            seen.add(entry.uuid)


def _check_owner(account: Account) -> Iterator[Finding]:
    for entry in account.entries:
        if entry.user_id != account.user_id:
            yield Finding(
                FindingKind.MALFORMED, account.user_id, f"{entry} is user {entry.user_id}'s"
            )


def _check_numbers(account: Account) -> Iterator[Finding]:
    if not has_gap(account):
        return
    expected, entry = next(
        (place, entry) for place, entry in enumerate(account.entries, 1) if entry.number != place
    )
    yield Finding(
        FindingKind.GAP_IN_NUMBERS, account.user_id, f"{entry} stands where {expected} should"
    )


def _check_times(account: Account) -> Iterator[Finding]:
    for before, entry in zip(account.entries, account.entries[1:], strict=False):
        if entry.recorded_at < before.recorded_at:
            yield Finding(
                FindingKind.RECORDED_EARLIER,
                account.user_id,
                f"{entry} was recorded at {entry.recorded_at}, after {before} at {before.recorded_at}",
            )


def _check_sums(account: Account) -> Iterator[Finding]:
    """Check that the balance after each entry, and the final balance, is the sum of the posted transactions."""
    total = ZERO
    for entry in account.entries:
        total += entry.change
        if entry.balance != total:
            message = f"{entry} has the balance {entry.balance}, and the sum is {total}"
            yield Finding(FindingKind.WRONG_BALANCE, account.user_id, message)
            return
    if account.balance != total:
        message = f"the final balance is {account.balance}, and the sum is {total}"
        yield Finding(FindingKind.WRONG_BALANCE, account.user_id, message)


def _check_moments(account: Account) -> Iterator[Finding]:
    """Check after each entry that no balance at a date is negative and that refusals for lack of funds were right."""
    balances = Balances(entry.timestamp for entry in account.entries)
    for entry in account.entries:
        if entry.outcome == INSUFFICIENT_FUNDS:
            lowest = balances.lowest_from(entry.timestamp)
            if entry.type != "WITHDRAW" or lowest >= entry.amount:
                yield Finding(
                    FindingKind.UNEXPLAINED_OUTCOME,
                    account.user_id,
                    f"{entry}: from {entry.timestamp} on the lowest balance was {lowest}",
                )
        elif entry.outcome == POSTED:
            balances.add(entry.timestamp, entry.change)
            if balances.lowest < 0:
                yield Finding(
                    FindingKind.NEGATIVE_BALANCE,
                    account.user_id,
                    f"after {entry} the balance at some moment since {entry.timestamp} "
                    f"is {balances.lowest}",
                )
                return


def _check_maximum(final: FinalRead) -> Iterator[Finding]:
    """Check the refusals of deposits that would exceed the maximum balance.

    The balance that such a deposit would have led to must be greater than every balance that was posted for any user.

    The checker doesn't know the maximum; it knows only that one maximum applies to all users.
    """
    posted: Decimal = ZERO
    refused: list[tuple[Entry, Decimal]] = []
    for account in final.accounts.values():
        total = ZERO
        for entry in account.entries:
            total += entry.change
            if entry.outcome == BALANCE_ABOVE_MAXIMUM:
                refused.append((entry, total + entry.amount))
            posted = max(posted, total)
    for entry, total in refused:
        if entry.type != "DEPOSIT":
            message = f"{entry}: a withdrawal lifts no balance"
        elif total <= posted:
            message = f"{entry}: the balance would be {total}, and one of {posted} was allowed"
        else:
            continue
        yield Finding(FindingKind.UNEXPLAINED_OUTCOME, entry.user_id, message)
