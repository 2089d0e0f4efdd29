"""Random histories of a ledger: a state machine that sends the same requests to both.

Both are the executable specification and the database. The database is driven through the store's
`Poster` and `Reader` alone, so that this stays true whatever the SQL function is called.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from saldo.ledger.model import (
    SHARDS,
    Decision,
    Entry,
    Kind,
    Limits,
    Outcome,
    TransactionRequest,
    shard_of,
)
from saldo.ledger.specification import Ledger
from saldo.ledger.time import MICROSECOND
from saldo.store.connection import Connection, is_distributed
from saldo.store.poster import Poster
from saldo.store.reader import Reader

T = TypeVar("T")

YEAR = datetime(2023, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
USERS_MAX = 4
NOBODY = -1
LIMITS = (
    Limits(balance_max=400, late_check_entries_max=4),
    Limits(balance_max=1000, late_check_entries_max=1000),
)

ENTRIES = """
    SELECT shard, seq, user_id, number, uuid, kind, outcome, amount, balance,
        nullif("timestamp", '-infinity') AS "timestamp", nullif(horizon, '-infinity') AS horizon, recorded_at
    FROM saldo.transactions WHERE user_id = ANY ($1) ORDER BY shard, seq
"""
NEXT_USER_ID = "SELECT setval(pg_get_serial_sequence('saldo.users', 'id'), $1, false)"
LAST_USER_ID = "SELECT coalesce(max(id), 0) FROM saldo.users"


@dataclass(frozen=True)
class Fresh:
    """A request under a new uuid. Users and moments by index: they are known only when it is sent."""

    user: int
    amount: int
    moment: int | timedelta | None
    """Hours after YEAR, or how far from the beginning of the example, or left to the ledger."""


@dataclass(frozen=True)
class Again:
    """A request under a uuid that was sent before, perhaps in the same batch."""

    which: int
    changed: str | None
    by: Fresh


@dataclass(frozen=True)
class Question:
    """A balance to ask for. Dates and moments of knowledge lie around those of the user's entries."""

    user: int
    date: int | None
    known_at: int | None
    shift: int
    """In microseconds."""


# Few of each, so that equal instants, duplicates and clashes are the rule; and enough money in play
# that a withdrawal is posted about as often as it is refused.
_users = st.sampled_from([*range(USERS_MAX)] * 4 + [NOBODY])
_moments = st.sampled_from(
    [*range(7)] * 5
    + [None] * 4
    + [timedelta(minutes=1), timedelta(minutes=2), timedelta(hours=1), timedelta(days=365 * 150)]
)
_fresh = st.builds(
    Fresh,
    user=_users,
    amount=st.sampled_from([50, 100, 100, 20, 350, -10, -10, -20, -50, -60, -120]),
    moment=_moments,
)
_again = st.builds(
    Again,
    which=st.integers(0, 30),
    changed=st.sampled_from(
        [
            None,
            None,
            "timestamp left out",
            "timestamp recorded",
            "timestamp",
            "user",
            "amount",
            "uuid",
        ]
    ),
    by=_fresh,
)
_batches = st.lists(st.one_of(_fresh, _fresh, _fresh, _again), min_size=1, max_size=14)
_questions = st.lists(
    st.builds(
        Question,
        user=_users,
        date=st.none() | st.integers(0, 30),
        known_at=st.none() | st.integers(0, 30),
        shift=st.integers(-1, 1),
    ),
    min_size=1,
    max_size=4,
)


@dataclass
class World:
    """A database for histories alone, and how to talk to it from code that is not async."""

    runner: asyncio.Runner
    posters: list[tuple[Limits, Poster]]
    reader: Reader
    owner: Connection
    distributed: bool
    names: count[int] = field(default_factory=count)
    seen: Counter[str] = field(default_factory=Counter)
    """What the histories have led to: a test of nothing but deposits would show little."""

    @classmethod
    def open(
        cls, runner: asyncio.Runner, url: str, owner_url: str, max_lateness: timedelta | None
    ) -> World:
        async def connect() -> World:
            posters = []
            for limits in LIMITS:
                bounded = Limits(
                    limits.balance_max,
                    max_lateness=max_lateness,
                    late_check_entries_max=limits.late_check_entries_max,
                )
                poster = await Poster.open(url, bounded, lane=0, statement_timeout_seconds=30)
                posters.append((bounded, poster))
            reader = await Reader.open(
                url, connections=1, timeout_seconds=30, entries_read_max=10_000
            )
            owner = await asyncpg.connect(owner_url)
            return cls(runner, posters, reader, owner, await is_distributed(url))

        return runner.run(connect())

    def close(self) -> None:
        async def close() -> None:
            for _, poster in self.posters:
                await poster.close()
            await self.reader.close()
            await self.owner.close()

        self.run(close())

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.get_loop().run_until_complete(call)

    def row(self, query: str) -> Any:
        """What a query of the whole log gives."""

        async def fetch() -> Any:
            return await self.owner.fetchrow(query)

        return self.run(fetch())

    def create_user(self, shard: int | None) -> int:
        """A new user; in the given shard, if one is given."""

        async def create() -> int:
            if shard is not None:
                last = await self.owner.fetchval(LAST_USER_ID)
                next_id = last + 1 + (shard - last - 1) % SHARDS
                await self.owner.execute(NEXT_USER_ID.replace("$1", str(next_id)))
            return (await self.reader.create_user(f"user {next(self.names)}")).id

        return self.run(create())

    def entries(self, users: list[int]) -> list[Entry]:
        """The users' rows of the log by shard and seq, whole."""

        async def fetch() -> Any:
            return await self.owner.fetch(ENTRIES, users)

        return [
            Entry(
                **dict(row) | {"kind": Kind(row["kind"]), "outcome": Outcome(row["outcome"])},
            )
            for row in self.run(fetch())
        ]


class Histories(RuleBasedStateMachine):
    """One history: users come, batches are posted, balances are asked."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.users: list[int] = []
        self.sent: list[TransactionRequest] = []
        self.began = datetime.now(UTC)
        self.openings: dict[int, Entry] = {}
        self.first_seqs: dict[int, int] = {}

    @initialize(limits=st.integers(0, len(LIMITS) - 1), users=st.integers(1, 2))
    def begin(self, limits: int, users: int) -> None:
        limits_, self.poster = self.world.posters[limits]
        self.specification = Ledger(limits_, by_shard=self.world.distributed)
        for _ in range(users):
            self._create_user(neighbour=False)

    @rule(wishes=_batches, questions=_questions)
    def post(self, wishes: list[Fresh | Again], questions: list[Question]) -> None:
        batch: list[TransactionRequest] = []
        for wish in wishes:
            batch.append(self._request(wish, self.sent + batch))
        self.sent += batch
        decided = self.world.run(self.poster.post(batch))
        clocks = _clocks(decided)
        expected: list[Decision] = []
        for request in batch:
            now = clocks.get(shard_of(request.user_id), self.began)
            expected += self.specification.post([request], now)
        assert [_visible(decision) for decision in decided] == [
            _visible(decision) for decision in expected
        ]
        self._count(batch, expected)
        self._ask(questions)

    @precondition(lambda self: len(self.users) < USERS_MAX)
    @rule(neighbour=st.booleans(), wishes=_batches, questions=_questions)
    def post_with_a_newcomer(
        self, neighbour: bool, wishes: list[Fresh | Again], questions: list[Question]
    ) -> None:
        self._create_user(neighbour=neighbour)
        self.post(wishes, questions)

    def teardown(self) -> None:
        if not self.users:
            return
        stored = [self._numbered_as_here(entry) for entry in self.world.entries(self.users)]
        entries = [entry for user in self.users for entry in self.specification.entries(user)]
        assert stored == sorted(entries, key=lambda entry: (entry.shard, entry.seq))
        self._ask(
            [Question(user, date, None, 0) for user in range(len(self.users)) for date in (3, 8)]
        )

    def _create_user(self, *, neighbour: bool) -> None:
        """A neighbour shares its shard, and so its log and its clock, with another user."""
        shard = shard_of(self.users[0]) if neighbour else None
        user_id = self.world.create_user(shard)
        (stored,) = self.world.entries([user_id])
        opening = self.specification.open(user_id, stored.uuid, stored.recorded_at)
        # The log goes on from history to history: the specification counts from this one's first.
        self.first_seqs.setdefault(stored.shard, stored.seq)
        assert self._numbered_as_here(stored) == opening
        self.users.append(user_id)

    def _user_id(self, index: int) -> int:
        return 2**62 if index == NOBODY else self.users[index % len(self.users)]

    def _moment(self, moment: int | timedelta | None) -> datetime | None:
        if isinstance(moment, timedelta):
            return self.began + moment
        return None if moment is None else YEAR + moment * HOUR

    def _request(
        self, wish: Fresh | Again, earlier: list[TransactionRequest]
    ) -> TransactionRequest:
        fresh = wish.by if isinstance(wish, Again) else wish
        request = TransactionRequest(
            uuid4(), self._user_id(fresh.user), fresh.amount, self._moment(fresh.moment)
        )
        if isinstance(wish, Fresh) or not earlier:
            return request
        original = earlier[wish.which % len(earlier)]
        match wish.changed:
            case "timestamp left out":
                return original._replace(timestamp=None)
            case "timestamp recorded":
                return original._replace(timestamp=self._recorded_timestamp(original))
            case "timestamp":
                return original._replace(timestamp=request.timestamp)
            case "user":
                return original._replace(user_id=request.user_id)
            case "amount":
                return original._replace(amount=request.amount)
            case "uuid":  # an opening entry's: the ledger's own, no client's transaction
                return request._replace(uuid=self.specification.entries(self.users[0])[0].uuid)
            case _:
                return original

    def _recorded_timestamp(self, request: TransactionRequest) -> datetime | None:
        entries = self._entries(request.user_id)
        return next(
            (entry.timestamp for entry in entries if entry.uuid == request.uuid), request.timestamp
        )

    def _entries(self, user_id: int) -> list[Entry]:
        return self.specification.entries(user_id) if user_id in self.users else []

    def _ask(self, questions: list[Question]) -> None:
        asked = [self._meant(question) for question in questions]

        async def answers() -> list[int | None]:
            return [await self.world.reader.balance(*question) for question in asked]

        for (user_id, date, known_at), answer in zip(asked, self.world.run(answers()), strict=True):
            if user_id not in self.users:
                assert answer is None
                continue
            assert answer == self.specification.balance_at(user_id, date, known_at)
            assert answer >= 0
            self.world.seen["questions"] += 1

    def _meant(self, question: Question) -> tuple[int, datetime | None, datetime | None]:
        user_id = self._user_id(question.user)
        entries = self._entries(user_id)
        dates = [YEAR + hours * HOUR for hours in range(7)]
        dates += [entry.timestamp for entry in entries[:0:-1] if entry.timestamp]
        moments = [entry.recorded_at for entry in entries] or [self.began]
        shift = question.shift * MICROSECOND
        date = None if question.date is None else dates[question.date % len(dates)] + shift
        known_at = (
            None if question.known_at is None else moments[question.known_at % len(moments)] + shift
        )
        return user_id, date, known_at

    def _is_late(self, request: TransactionRequest) -> bool:
        (entry,) = (e for e in self._entries(request.user_id) if e.uuid == request.uuid)
        return entry.timestamp != entry.horizon

    def _numbered_as_here(self, entry: Entry) -> Entry:
        """With the seq that the entry has when the shard's log begins with this history."""
        fields = dict(zip(Entry.__slots__, astuple(entry), strict=True))
        return Entry(**fields | {"seq": entry.seq - self.first_seqs[entry.shard] + 1})

    def _count(self, batch: list[TransactionRequest], decided: list[Decision]) -> None:
        """Notes what this batch was an example of."""
        seen = self.world.seen
        uuids: set[UUID] = set()
        for request, decision in zip(batch, decided, strict=True):
            kind = "replayed" if decision.replayed else "new"
            seen[f"{decision.outcome.name} {kind}"] += 1
            if request.uuid in uuids:
                seen[f"{decision.outcome.name} of the same batch"] += 1
            uuids.add(request.uuid)
            if (
                decision.outcome is Outcome.INSUFFICIENT_FUNDS
                and request.amount + (decision.balance or 0) >= 0
            ):
                seen["late withdrawal refused for a moment of the past"] += 1
            if (
                decision.outcome is Outcome.POSTED
                and not decision.replayed
                and self._is_late(request)
            ):
                seen["late deposit" if request.amount > 0 else "late withdrawal"] += 1


def _clocks(decided: list[Decision]) -> dict[int, datetime]:
    """The clock that the ledger read for each shard of a batch, once: by what is new in it."""
    clocks: dict[int, datetime] = {}
    for decision in decided:
        if decision.outcome.recorded and not decision.replayed:
            assert decision.user_id is not None
            assert decision.recorded_at is not None
            clock = clocks.setdefault(shard_of(decision.user_id), decision.recorded_at)
            assert clock == decision.recorded_at
    return clocks


def _visible(decision: Decision) -> Decision:
    """As the specification writes it."""
    timestamp = decision.timestamp
    if timestamp is not None and timestamp.year == 1:  # the driver's word for -infinity
        timestamp = None
    return decision._replace(timestamp=timestamp)
