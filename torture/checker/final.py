"""The final read as a whole: every user's log, and each transaction by its uuid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torture import history
from torture.checker.entry import Account, Entry, read_entry, to_money
from torture.checker.fault import Finding, FindingKind, MalformedError


@dataclass(frozen=True, slots=True)
class FinalRead:
    """The state of the ledger after all faults have ended and all requests are decided.

    Attributes:
        by_uuid: the entry of each uuid; the first one, if a uuid occurs twice.
    """

    accounts: dict[int, Account]
    by_uuid: dict[str, Entry]


def read_final(accounts: Iterable[history.Account], faults: list[Finding]) -> FinalRead:
    """Parse the accounts of the final read. An account that can't be parsed is reported as a fault and left out."""
    final = FinalRead({}, {})
    for read in accounts:
        try:
            entries = tuple(read_entry(fields) for fields in read.transactions)
            account = Account(read.user_id, to_money(read.balance), entries)
        except MalformedError as error:
            message = f"the final read can't be read: {error}"
            faults.append(Finding(FindingKind.MALFORMED, read.user_id, message))
            continue
        if read.user_id in final.accounts:
            faults.append(Finding(FindingKind.MALFORMED, read.user_id, "was read twice at the end"))
            continue
        final.accounts[read.user_id] = account
        for entry in entries:
            final.by_uuid.setdefault(entry.uuid, entry)
    return final
