"""The final read as a whole: every user's log, and each transaction by its uuid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torture import history
from torture.checker.entry import Account, Entry, read_entry, to_money
from torture.checker.fault import Fault, Kind, MalformedError


@dataclass(frozen=True, slots=True)
class FinalRead:
    """What is there after everything has calmed down.

    Attributes:
        by_uuid: of a uuid that is there twice: the first.
    """

    accounts: dict[int, Account]
    by_uuid: dict[str, Entry]


def read_final(accounts: Iterable[history.Account], faults: list[Fault]) -> FinalRead:
    """The accounts as values. One that can't be read is a fault, and left out."""
    final = FinalRead({}, {})
    for read in accounts:
        try:
            entries = tuple(read_entry(fields) for fields in read.transactions)
            account = Account(read.user_id, to_money(read.balance), entries)
        except MalformedError as error:
            message = f"the final read can't be read: {error}"
            faults.append(Fault(Kind.MALFORMED, read.user_id, message))
            continue
        if read.user_id in final.accounts:
            faults.append(Fault(Kind.MALFORMED, read.user_id, "was read twice at the end"))
            continue
        final.accounts[read.user_id] = account
        for entry in entries:
            final.by_uuid.setdefault(entry.uuid, entry)
    return final
