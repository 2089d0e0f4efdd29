"""The check of published heads against each other. It needs no database, and trusts only the given public keys.

Heads form a chain, in which each head names the one before. A restore or a promotion starts a new epoch, whose first
head names the head that it starts from. If that head was not the newest, the following heads of the old epoch are cut
off, together with the entries that only they cover.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from saldo.ledger.heads import (
    InvalidHeadError,
    SignedHead,
    find_regression,
    parse_head,
)
from saldo.ledger.instants import format_instant

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""Maximum time by which a head may be ahead of the verifier's clock."""


class HeadRule(StrEnum):
    """A rule of the check. The values are stable, because scripts read them."""

    FORMAT = "format"  # the file is a head
    NAME = "name"  # the file has the name of its head, so that no old head is shown as a new one
    SIGNATURE = "signature"  # is that of the key which the head names
    LEDGER = "ledger"  # all heads belong to the ledger that is verified
    KEY = "key"  # is one that was given, or that a head named
    FORK = (
        "fork"  # no two heads have the same number, and no epoch continues after another one began
    )
    GAP = "gap"  # no head is missing between two others
    CHAIN = "chain"  # each head follows the one that it names
    TIME = "time"  # increases along the chain, and is not in the future
    AGE = "age"  # the newest head is not older than the verifier demands
    RESTORE = (
        "restore"  # a new epoch starts from the newest head, or the verifier knows of the restore
    )


class HeadFault(NamedTuple):
    """A fault of the published heads.

    Attributes:
        file: The name of the file; empty if no single file is at fault.
    """

    rule: HeadRule
    file: str
    found: str
    expected: str

    def __str__(self) -> str:
        place = f"{self.file}: " if self.file else ""
        return f"heads: {place}{self.rule}: found {self.found}, expected {self.expected}"


class HeadFile(NamedTuple):
    """A file that may contain a head. The name has no directory."""

    name: str
    document: bytes


class HeadPolicy(NamedTuple):
    """The verifier's knowledge about the heads.

    Attributes:
        ledger: The id of the ledger that is verified.
        keys: The public keys that the verifier has got from elsewhere. At least the first head must be signed by one of
            them.
        now: The verifier's time.
        age_max: The maximum age of the newest head; None if any age is accepted.
        known_epochs: The epochs that began with a restore which the verifier knows of. The heads that such a restore
            has cut off are no fault.
    """

    ledger: UUID
    keys: frozenset[bytes]
    now: datetime
    age_max: timedelta | None = None
    known_epochs: frozenset[str] = frozenset()


class HeadHistory(NamedTuple):
    """The result of the check.

    Attributes:
        heads: The authentic heads that the ledger must still match, in the order of their numbers. Heads that a new
            epoch has cut off are not among them.
        newest: The newest of these heads; None if there is none.
    """

    faults: list[HeadFault]
    heads: list[SignedHead]
    newest: SignedHead | None


class _KeyState(NamedTuple):
    """The keys after a head: the one that must sign the following head, and those that must not sign any more."""

    current: bytes
    retired: frozenset[bytes]


def check_heads(files: Iterable[HeadFile], policy: HeadPolicy) -> HeadHistory:
    """Check heads against each other and against the verifier's knowledge.

    Args:
        files: The published files, in any order.
    """
    faults: list[HeadFault] = []
    chain = _HeadChain(policy, faults)
    parsed = _parse_files(files, policy, faults)
    for head in sorted(parsed, key=lambda each: (each.head.number, each.head.time, each.document)):
        chain.add(head)
    cut_off = chain.find_cut_off_heads()
    heads = [head for head in chain.heads if head.hash not in cut_off]
    newest = max(heads, key=lambda each: each.head.time, default=None)
    faults += _check_newest(newest, policy)
    return HeadHistory(faults, heads, newest)


def _parse_files(
    files: Iterable[HeadFile], policy: HeadPolicy, faults: list[HeadFault]
) -> list[SignedHead]:
    """Return the different heads of the ledger that have valid signatures, whoever has signed them."""
    heads: dict[bytes, SignedHead] = {}
    for name, document in files:
        try:
            signed = parse_head(document)
        except InvalidHeadError as error:
            faults.append(HeadFault(HeadRule.FORMAT, name, str(error), "a head"))
            continue
        head = signed.head
        if not signed.has_valid_signature:
            faults.append(
                HeadFault(
                    HeadRule.SIGNATURE,
                    name,
                    "a wrong signature",
                    f"one of the key {head.key.hex()}",
                )
            )
        elif head.ledger != policy.ledger:
            faults.append(
                HeadFault(HeadRule.LEDGER, name, f"a head of {head.ledger}", str(policy.ledger))
            )
        else:
            if name != signed.file_name:
                faults.append(
                    HeadFault(
                        HeadRule.NAME,
                        name,
                        f"head {head.number} of {format_instant(head.time)}",
                        f"it in {signed.file_name}",
                    )
                )
            heads[signed.hash] = signed
    return list(heads.values())


def _check_newest(newest: SignedHead | None, policy: HeadPolicy) -> Iterator[HeadFault]:
    if newest is None:
        yield HeadFault(HeadRule.GAP, "", "no head of this ledger", "head 1 and those after it")
        return
    time = newest.head.time
    if time > policy.now + CLOCK_TOLERANCE:
        yield HeadFault(
            HeadRule.TIME,
            newest.file_name,
            f"a head of {format_instant(time)}",
            f"none from after {format_instant(policy.now)}",
        )
    if policy.age_max is not None and policy.now - time > policy.age_max:
        yield HeadFault(
            HeadRule.AGE,
            newest.file_name,
            f"the newest head to be of {format_instant(time)}",
            f"one from after {format_instant(policy.now - policy.age_max)}",
        )


class _HeadChain:
    """The authentic heads, which are added in the order of their numbers."""

    def __init__(self, policy: HeadPolicy, faults: list[HeadFault]) -> None:
        self._policy = policy
        self._faults = faults
        self._heads: dict[bytes, SignedHead] = {}
        self._key_states: dict[bytes, _KeyState] = {}
        self._children: dict[bytes, list[SignedHead]] = {}
        self._of_number: dict[tuple[str, int], SignedHead] = {}
        self._epoch_starts: dict[str, SignedHead] = {}
        self._named_keys: set[bytes] = set()
        self._last: SignedHead | None = None

    @property
    def heads(self) -> Collection[SignedHead]:
        """The heads that a trusted key has signed."""
        return self._heads.values()

    def add(self, signed: SignedHead) -> None:
        """Check a head against those with lower numbers, and keep it if a trusted key has signed it."""
        head = signed.head
        previous = None if head.previous is None else self._heads.get(head.previous.hash)
        state = self._check_key(signed, previous)
        if state is None:
            return
        if previous is not None:
            self._check_link(signed, previous)
            self._children.setdefault(previous.hash, []).append(signed)
        elif head.previous is not None:
            self._report_missing(signed)
        self._check_fork(signed)
        self._heads[signed.hash] = signed
        self._key_states[signed.hash] = state
        if head.next_key is not None:
            self._named_keys.add(head.next_key)
        self._last = signed

    def find_cut_off_heads(self) -> set[bytes]:
        """Return the hashes of the heads that the start of a new epoch has cut off, and report the faults of these
        starts."""
        cut_off: set[bytes] = set()
        for start in self._epoch_starts.values():
            reference = start.head.previous
            if reference is None:
                continue
            lost = [
                each
                for sibling in self._children.get(reference.hash, ())
                if sibling is not start and self._is_cut_off_by(sibling, start)
                for each in self._list_branch(sibling)
            ]
            if lost:
                self._report_start(start, lost)
                cut_off.update(each.hash for each in lost)
        return cut_off

    def _is_cut_off_by(self, sibling: SignedHead, start: SignedHead) -> bool:
        """Return whether a head with the same head before it belongs to the history that ends with the new epoch."""
        if sibling.head.epoch == start.head.epoch:
            return False
        is_start = self._epoch_starts.get(sibling.head.epoch) is sibling
        return not is_start or sibling.head.time < start.head.time

    def _report_start(self, start: SignedHead, lost: Sequence[SignedHead]) -> None:
        late = [each for each in lost if each.head.time >= start.head.time]
        if late:
            self._faults.append(
                HeadFault(
                    HeadRule.FORK,
                    late[0].file_name,
                    f"head {late[0].head.number} of {format_instant(late[0].head.time)}",
                    f"none after {start.head.epoch} had begun with head {start.head.number}, so two ledgers publish",
                )
            )
        if start.head.epoch not in self._policy.known_epochs:
            numbers = [each.head.number for each in lost]
            self._faults.append(
                HeadFault(
                    HeadRule.RESTORE,
                    start.file_name,
                    f"the epoch {start.head.epoch} to start from head {start.head.number - 1}",
                    f"it to start from head {max(numbers)}: the entries after head {start.head.number - 1} were cut "
                    "off by a restore",
                )
            )

    def _list_branch(self, signed: SignedHead) -> Iterator[SignedHead]:
        """Yield a head and all heads that follow it."""
        waiting = [signed]
        while waiting:
            head = waiting.pop()
            yield head
            waiting += self._children.get(head.hash, ())

    def _check_key(self, signed: SignedHead, previous: SignedHead | None) -> _KeyState | None:
        """Return the keys after the head; None if no trusted key has signed it."""
        key, keys = signed.head.key, self._policy.keys
        if previous is not None:
            before = self._key_states[previous.hash]
            # A key that the verifier has got from elsewhere needs no head that names it, unless it was replaced before.
            trusted = key == before.current or (key in keys and key not in before.retired)
            retired = before.retired
            if key != before.current:
                retired |= {before.current}
        elif signed.head.previous is None:
            trusted, retired = key in keys, frozenset()
        else:
            before_gap = None if self._last is None else self._key_states[self._last.hash]
            retired = frozenset() if before_gap is None else before_gap.retired
            trusted = key in (keys | self._named_keys) - retired
        if not trusted:
            self._faults.append(
                HeadFault(
                    HeadRule.KEY,
                    signed.file_name,
                    f"a head signed by {key.hex()}",
                    "a key that was given, or that the head before names",
                )
            )
            return None
        next_key = signed.head.next_key
        if next_key is None or next_key == key:
            return _KeyState(key, retired)
        return _KeyState(next_key, retired | {key})

    def _check_link(self, signed: SignedHead, previous: SignedHead) -> None:
        head, before = signed.head, previous.head
        assert head.previous is not None
        if head.previous != previous.reference:
            self._report_chain(
                signed, f"a reference to head {head.previous.number}", str(before.number)
            )
        regression = find_regression(before, head)
        if regression is not None:
            self._report_chain(
                signed, regression, f"seals that follow those of {previous.file_name}"
            )
        if head.time <= before.time:
            self._faults.append(
                HeadFault(
                    HeadRule.TIME,
                    signed.file_name,
                    f"a head of {format_instant(head.time)}",
                    f"one from after {format_instant(before.time)}",
                )
            )

    def _report_missing(self, signed: SignedHead) -> None:
        """Report that the head before is missing, or that another head has its number."""
        reference = signed.head.previous
        assert reference is not None
        other = self._of_number.get((reference.epoch, reference.number))
        if other is not None:
            self._report_chain(
                signed,
                f"{other.file_name} with the hash {other.hash.hex()}",
                f"the hash {reference.hash.hex()}",
            )
            return
        present = [number for _, number in self._of_number if number < reference.number]
        first = max(present, default=0) + 1
        missing = f"{first}" if first == reference.number else f"{first} to {reference.number}"
        self._faults.append(
            HeadFault(HeadRule.GAP, signed.file_name, f"no head {missing} before it", "all heads")
        )

    def _check_fork(self, signed: SignedHead) -> None:
        head = signed.head
        place = (head.epoch, head.number)
        other = self._of_number.setdefault(place, signed)
        is_start = head.previous is None or head.previous.epoch != head.epoch
        if is_start and other is signed:
            other = self._epoch_starts.setdefault(head.epoch, signed)
        if other is not signed:
            self._faults.append(
                HeadFault(
                    HeadRule.FORK,
                    signed.file_name,
                    f"another head {head.number} of the epoch {head.epoch}"
                    if other.head.number == head.number
                    else f"a second start of the epoch {head.epoch}",
                    "one only, so two ledgers publish",
                )
            )

    def _report_chain(self, signed: SignedHead, found: str, expected: str) -> None:
        self._faults.append(HeadFault(HeadRule.CHAIN, signed.file_name, found, expected))
