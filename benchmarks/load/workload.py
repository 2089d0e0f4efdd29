"""Generator of seeded workloads: lines with transactions, each with its expected outcome.

The generator tracks each user's balance and horizon as the ledger does. It therefore knows which transactions are
posted, refused, replays or late entries, and the responses can be compared with its expectations.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Literal, NamedTuple, TypeAlias

REFUSED_AMOUNT = "9000000000000.00"
"""An amount that is greater than every balance in the benchmarks."""

LINES_PER_MILLISECOND = 30
"""Number of time-ordered uuids per millisecond, which is about the rate of a service at full load."""

Outcome: TypeAlias = tuple[str, bool]
"""The outcome code of one response line of a bulk request, and whether the line reports a replay."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The parameters of a workload.

    Attributes:
        first_user: The first user id. The others follow without gaps.
        spread: The distribution of the traffic over the users: uniform, one user only, or Zipf's law (exponent 1).
        withdrawals, refusals, replays, late: Shares of the lines, from 0 to 1. A withdrawal that the balance does not
            cover becomes a deposit. Late entries are deposits and need a history.
        late_by: The maximum lateness.
        history: The duration over which the timestamps are spread, up to `ends_at`. With None, no timestamps are sent.
        ends_at: The end of the history, and the time at which time-ordered uuids begin.
    """

    lines: int
    users: int
    first_user: int = 1
    spread: Literal["uniform", "hot", "zipf"] = "uniform"
    uuid_version: Literal[4, 7] = 4
    withdrawals: float = 0.2
    refusals: float = 0.0
    replays: float = 0.0
    late: float = 0.0
    late_by: timedelta = timedelta(days=30)
    history: timedelta | None = None
    ends_at: datetime | None = None
    seed: int = 1


class Line(NamedTuple):
    """A line of JSON without its line break, and its expected outcome."""

    text: str
    outcome: Outcome


class Body(NamedTuple):
    """The joined lines, and the expected number of lines of each outcome."""

    data: bytes
    outcomes: Counter[Outcome]


def body_of(workload: Workload) -> Body:
    """Return all lines of a workload as one body of NDJSON."""
    texts = []
    outcomes: Counter[Outcome] = Counter()
    for text, outcome in generate(workload):
        texts.append(text)
        outcomes[outcome] += 1
    return Body(("\n".join(texts) + "\n").encode(), outcomes)


def generate(workload: Workload) -> Iterator[Line]:
    """Yield the lines of a workload.

    The same workload always gives the same lines, apart from the current time if `ends_at` is None.
    """
    random = Random(workload.seed)
    ends_at = workload.ends_at or datetime.now(UTC)
    uuids = _uuids(workload.uuid_version, ends_at, random)
    users = _users(workload, random)
    mirror = _LedgerModel(workload, ends_at)
    refused_below = workload.refusals
    replayed_below = refused_below + workload.replays
    late_below = replayed_below + workload.late
    withdrawn_below = late_below + workload.withdrawals
    sent: list[Line] = []
    for number in range(workload.lines):
        chosen = random.random()
        if refused_below <= chosen < replayed_below and sent:
            text, (code, _) = sent[random.randrange(len(sent))]
            yield Line(text, (code, True))
            continue
        user = next(users)
        if chosen < refused_below:
            line = mirror.build_refusal(number, next(uuids), user)
        elif replayed_below <= chosen < late_below:
            line = mirror.build_late_entry(number, next(uuids), user, random)
        else:
            amount = random.randint(1, 9999)
            if late_below <= chosen < withdrawn_below and mirror.balance(user) >= amount:
                amount = -amount
            line = mirror.build_posted_entry(number, next(uuids), user, amount)
        if workload.replays:
            sent.append(line)
        yield line


class _LedgerModel:
    """A model of the ledger's state for each user."""

    def __init__(self, workload: Workload, ends_at: datetime) -> None:
        self._first_user = workload.first_user
        self._late_by = workload.late_by
        self._balances = [0] * workload.users
        self._horizons: dict[int, datetime] = {}
        self._begins_at: datetime | None = None
        if workload.history is not None:
            self._begins_at = ends_at - workload.history
            self._step = workload.history / max(1, workload.lines)

    def balance(self, user: int) -> int:
        return self._balances[user]

    def build_refusal(self, number: int, uuid: str, user: int) -> Line:
        """Return a withdrawal that exceeds the balance."""
        text = self._text(uuid, "WITHDRAW", REFUSED_AMOUNT, user, self._moment(number))
        return Line(text, ("insufficient_funds", False))

    def build_late_entry(self, number: int, uuid: str, user: int, random: Random) -> Line:
        """Return a deposit before the user's horizon, or an ordinary deposit if the user has no horizon yet."""
        horizon = self._horizons.get(user)
        if horizon is None:
            return self.build_posted_entry(number, uuid, user, 100)
        microseconds = random.randint(1, int(self._late_by / timedelta(microseconds=1)))
        self._balances[user] += 100
        moment = horizon - timedelta(microseconds=microseconds)
        return Line(self._text(uuid, "DEPOSIT", "1.00", user, moment), ("posted", False))

    def build_posted_entry(self, number: int, uuid: str, user: int, amount: int) -> Line:
        """Return a deposit, or a withdrawal that the balance covers, with the next timestamp."""
        moment = self._moment(number)
        if moment is not None:
            self._horizons[user] = moment
        self._balances[user] += amount
        kind = "DEPOSIT" if amount > 0 else "WITHDRAW"
        whole, cents = divmod(abs(amount), 100)
        return Line(self._text(uuid, kind, f"{whole}.{cents:02}", user, moment), ("posted", False))

    def _moment(self, number: int) -> datetime | None:
        return None if self._begins_at is None else self._begins_at + number * self._step

    def _text(self, uuid: str, kind: str, amount: str, user: int, moment: datetime | None) -> str:
        """Return the JSON of a line. It begins with the uuid, so that the check of the responses finds it there."""
        text = (
            f'{{"uuid":"{uuid}","type":"{kind}","amount":"{amount}",'
            f'"user_id":{self._first_user + user}'
        )
        return text + ("}" if moment is None else f',"timestamp":"{moment.isoformat()}"}}')


def _users(workload: Workload, random: Random) -> Iterator[int]:
    """Yield the user of each line, as a number from 0."""
    count = workload.users
    if workload.spread == "hot":
        while True:
            yield 0
    if workload.spread == "uniform":
        while True:
            yield int(random.random() * count)
    # The frequent users are spread over all ids.
    ranked = random.sample(range(count), count)
    weights = list(accumulate(1 / rank for rank in range(1, count + 1)))
    while True:
        yield ranked[min(bisect(weights, random.random() * weights[-1]), count - 1)]


def _uuids(version: Literal[4, 7], begins_at: datetime, random: Random) -> Iterator[str]:
    """Yield uuids of version 4, or of version 7 with a counter within each millisecond (RFC 9562)."""
    milliseconds = int(begins_at.timestamp() * 1000)
    number = 0
    while True:
        bits = random.getrandbits(128)
        if version == 7:
            elapsed, place = divmod(number, LINES_PER_MILLISECOND)
            bits = (milliseconds + elapsed) << 80 | place << 64 | bits & (2**62 - 1)
            number += 1
        bits = bits & ~(0xF << 76) | version << 76
        bits = bits & ~(0x3 << 62) | 0x2 << 62
        text = f"{bits:032x}"
        yield f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
