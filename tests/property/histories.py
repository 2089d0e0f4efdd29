"""Random histories of a ledger: a state machine sends the same requests to the specification and the database.

The database is used only through the store's `Poster` and `Reader`, so that the tests don't depend on the name of the
SQL function.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from saldo.ledger.instants import MICROSECOND
from saldo.ledger.model import (
    SHARDS,
    Decision,
    Entry,
    Kind,
    LedgerLimits,
    Outcome,
    TransactionRequest,
    compute_shard,
)
from saldo.ledger.specification import SpecifiedLedger
from saldo.store.connections.connection import Connection, is_distributed
from saldo.store.poster import Poster
from saldo.store.reader import Reader

T = TypeVar("T")

STEP = timedelta(hours=6)
"""Interval between two moments of a history: seven of them exceed the maximum lateness (36 hours)."""

CHANGES = {
    "UTC": datetime(2023, 1, 1, tzinfo=UTC),
    "Europe/Berlin": datetime(2023, 3, 26, 1, tzinfo=UTC),
    "America/New_York": datetime(2023, 11, 5, 6, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2023, 9, 30, 15, 30, tzinfo=UTC),
}
"""Time zones of a session, each with a moment at which its clocks change."""
USERS_MAX = 4
NOBODY = -1
LIMITS = (
    LedgerLimits(balance_max=400, late_check_entries_max=4, late_batch_entries_max=2),
    LedgerLimits(balance_max=1000, late_check_entries_max=1000, late_batch_entries_max=3),
    LedgerLimits(balance_max=1000, late_check_entries_max=1000),
)

ENTRIES = """
    SELECT shard, seq, user_id, number, uuid, kind, outcome, amount, balance,
        nullif("timestamp", '-infinity') AS "timestamp", nullif(horizon, '-infinity') AS horizon, recorded_at
    FROM saldo.transactions WHERE user_id = ANY ($1) ORDER BY shard, seq
"""
NEXT_USER_ID = "SELECT setval(pg_get_serial_sequence('saldo.users', 'id'), $1, false)"
LAST_USER_ID = "SELECT coalesce(max(id), 0) FROM saldo.users"


@dataclass(frozen=True)
class NewRequest:
    """A request with a new uuid. Users and moments are given by index, because they are known only when it is sent."""

    user: int
    amount: int
    moment: int | timedelta | None
    """Steps after the history's first moment, or an offset from the example's begin, or None for the ledger's time."""


@dataclass(frozen=True)
class RepeatedRequest:
    """A request with a uuid that was sent before, perhaps in the same batch."""

    which: int
    changed: str | None
    by: NewRequest


@dataclass(frozen=True)
class BalanceRead:
    """A balance to read. Dates and `known_at` are close to those of the user's entries."""

    user: int
    date: int | None
    known_at: int | None
    shift: int
    """The shift in microseconds."""


# There are few of each, so that equal times, duplicates and conflicts are common; and amounts are such that a
# withdrawal is posted about as often as it is refused.
_users = st.sampled_from([*range(USERS_MAX)] * 4 + [NOBODY])
_moments = st.sampled_from(
    [*range(7)] * 5
    + [None] * 4
    + [timedelta(minutes=1), timedelta(minutes=2), timedelta(hours=1), timedelta(days=365 * 150)]
)
_fresh = st.builds(
    NewRequest,
    user=_users,
    amount=st.sampled_from([50, 100, 100, 20, 350, -10, -10, -20, -50, -60, -120]),
    moment=_moments,
)
_again = st.builds(
    RepeatedRequest,
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
        BalanceRead,
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
    """A database for histories alone, and a synchronous interface to it."""

    runner: asyncio.Runner
    posters: list[tuple[LedgerLimits, Poster]]
    reader: Reader
    owner: Connection
    distributed: bool
    names: count[int] = field(default_factory=count)
    seen: Counter[str] = field(default_factory=Counter)
    """Counts of what the histories contained, because a test of nothing but deposits would prove little."""

    @classmethod
    def open(
        cls, runner: asyncio.Runner, url: str, owner_role_url: str, max_lateness: timedelta | None
    ) -> World:
        async def connect() -> World:
            posters = []
            for limits in LIMITS:
                bounded = LedgerLimits(
                    limits.balance_max,
                    max_lateness=max_lateness,
                    late_check_entries_max=limits.late_check_entries_max,
                    late_batch_entries_max=limits.late_batch_entries_max,
                )
                poster = await Poster.open(url, bounded, lane=0, statement_timeout_seconds=30)
                posters.append((bounded, poster))
            reader = await Reader.open(
                url, connections=1, timeout_seconds=30, entries_read_max=10_000
            )
            owner = await asyncpg.connect(owner_role_url)
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

    def use_zone(self, zone: str) -> None:
        """Set the time zone of all sessions; behind a pooler, sessions may differ from those that were set up."""

        async def use() -> None:
            connections = [poster._connection for _, poster in self.posters]
            async with self.reader.pool.acquire() as reading:
                for connection in (*connections, reading):
                    await connection.execute(
                        "SELECT set_config('TimeZone', $1, false)".replace("$1", f"'{zone}'")
                    )

        self.run(use())

    def row(self, query: str) -> Any:
        """Return the row of a query over the whole log."""

        async def fetch() -> Any:
            return await self.owner.fetchrow(query)

        return self.run(fetch())

    def create_user(self, shard: int | None) -> int:
        """Create a user, in the given shard if there is one, and return its id."""

        async def create() -> int:
            if shard is not None:
                last = await self.owner.fetchval(LAST_USER_ID)
                next_id = last + 1 + (shard - last - 1) % SHARDS
                await self.owner.execute(NEXT_USER_ID.replace("$1", str(next_id)))
            return (await self.reader.create_user(f"user {next(self.names)}")).id

        return self.run(create())

    def entries(self, users: list[int]) -> list[Entry]:
        """Return the users' complete rows of the log, by shard and seq."""

        async def fetch() -> Any:
            return await self.owner.fetch(ENTRIES, users)

        return [
            Entry(
                **dict(row) | {"kind": Kind(row["kind"]), "outcome": Outcome(row["outcome"])},
            )
            for row in self.run(fetch())
        ]


class Histories(RuleBasedStateMachine):
    """One history: users are created, batches are posted, balances are read."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.users: list[int] = []
        self.sent: list[TransactionRequest] = []
        self.began = datetime.now(UTC)
        self.first_moment = self.began
        self.openings: dict[int, Entry] = {}
        self.first_seqs: dict[int, int] = {}

    @initialize(
        limits=st.integers(0, len(LIMITS) - 1),
        users=st.integers(1, 2),
        zone=st.sampled_from([*CHANGES]),
    )
    def begin(self, limits: int, users: int, zone: str) -> None:
        self.first_moment = CHANGES[zone] - 3 * STEP
        self.world.use_zone(zone)
        limits_, self.poster = self.world.posters[limits]
        self.specification = SpecifiedLedger(limits_, by_shard=self.world.distributed)
        for _ in range(users):
            self._create_user(neighbour=False)

    @rule(wishes=_batches, questions=_questions)
    def post(
        self, wishes: list[NewRequest | RepeatedRequest], questions: list[BalanceRead]
    ) -> None:
        batch: list[TransactionRequest] = []
        for wish in wishes:
            batch.append(self._request(wish, self.sent + batch))
        self.sent += batch
        self._decide(batch)
        self._ask(questions)

    def _decide(self, batch: list[TransactionRequest]) -> None:
        """Let both decide the batch, until none of it is undecided."""
        decided = self.world.run(self.poster.post(batch))
        clocks = _clocks(decided)
        expected = self.specification.post_batch(batch, lambda shard: clocks.get(shard, self.began))
        assert [_visible(decision) for decision in decided] == [
            _visible(decision) for decision in expected
        ]
        self._count(batch, expected)
        undecided = [
            request for request, decision in zip(batch, decided, strict=True) if decision is None
        ]
        if undecided:
            self._decide(undecided)

    @precondition(lambda self: len(self.users) < USERS_MAX)
    @rule(neighbour=st.booleans(), wishes=_batches, questions=_questions)
    def post_with_a_newcomer(
        self,
        neighbour: bool,
        wishes: list[NewRequest | RepeatedRequest],
        questions: list[BalanceRead],
    ) -> None:
        self._create_user(neighbour=neighbour)
        self.post(wishes, questions)

    def teardown(self) -> None:
        if not self.users:
            return
        stored = [self._numbered_as_here(entry) for entry in self.world.entries(self.users)]
        entries = [entry for user in self.users for entry in self.specification.list_entries(user)]
        assert stored == sorted(entries, key=lambda entry: (entry.shard, entry.seq))
        self._ask(
            [BalanceRead(user, date, None, 0) for user in range(len(self.users)) for date in (3, 8)]
        )

    def _create_user(self, *, neighbour: bool) -> None:
        """Create a user. A neighbour is in the same shard as another user, and so shares its log and its clock."""
        shard = compute_shard(self.users[0]) if neighbour else None
        user_id = self.world.create_user(shard)
        (stored,) = self.world.entries([user_id])
        opening = self.specification.create_user(user_id, stored.uuid, stored.recorded_at)
        # The log continues from history to history, so the specification counts from this history's first entry.
        self.first_seqs.setdefault(stored.shard, stored.seq)
        assert self._numbered_as_here(stored) == opening
        self.users.append(user_id)

    def _user_id(self, index: int) -> int:
        return 2**62 if index == NOBODY else self.users[index % len(self.users)]

    def _moment(self, moment: int | timedelta | None) -> datetime | None:
        if isinstance(moment, timedelta):
            return self.began + moment
        return None if moment is None else self.first_moment + moment * STEP

    def _request(
        self, wish: NewRequest | RepeatedRequest, earlier: list[TransactionRequest]
    ) -> TransactionRequest:
        fresh = wish.by if isinstance(wish, RepeatedRequest) else wish
        request = TransactionRequest(
            uuid4(), self._user_id(fresh.user), fresh.amount, self._moment(fresh.moment)
        )
        if isinstance(wish, NewRequest) or not earlier:
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
            case "uuid":  # the uuid of an opening entry, which belongs to no client's transaction
                return request._replace(uuid=self.specification.list_entries(self.users[0])[0].uuid)
            case _:
                return original

    def _recorded_timestamp(self, request: TransactionRequest) -> datetime | None:
        entries = self._entries(request.user_id)
        return next(
            (entry.timestamp for entry in entries if entry.uuid == request.uuid), request.timestamp
        )

    def _entries(self, user_id: int) -> list[Entry]:
        return self.specification.list_entries(user_id) if user_id in self.users else []

    def _ask(self, questions: list[BalanceRead]) -> None:
        asked = [self._resolve(question) for question in questions]

        async def answers() -> list[int | None]:
            return [await self.world.reader.read_balance(*question) for question in asked]

        for (user_id, date, known_at), answer in zip(asked, self.world.run(answers()), strict=True):
            if user_id not in self.users:
                assert answer is None
                continue
            assert answer == self.specification.get_balance(user_id, date, known_at)
            assert answer >= 0
            self.world.seen["questions"] += 1

    def _resolve(self, question: BalanceRead) -> tuple[int, datetime | None, datetime | None]:
        user_id = self._user_id(question.user)
        entries = self._entries(user_id)
        dates = [self.first_moment + steps * STEP for steps in range(7)]
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
        """Return the entry with the seq that it would have if the shard's log began with this history."""
        fields = dict(zip(Entry.__slots__, astuple(entry), strict=True))
        return Entry(**fields | {"seq": entry.seq - self.first_seqs[entry.shard] + 1})

    def _count(self, batch: list[TransactionRequest], decided: list[Decision | None]) -> None:
        """Count what this batch is an example of."""
        seen = self.world.seen
        uuids: set[UUID] = set()
        for request, decision in zip(batch, decided, strict=True):
            if decision is None:
                seen["undecided"] += 1
                continue
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


def _clocks(decided: Sequence[Decision | None]) -> dict[int, datetime]:
    """Return the time that the ledger used for each shard of a batch, by the new entries, which must agree."""
    clocks: dict[int, datetime] = {}
    for decision in decided:
        if decision is not None and decision.outcome.is_recorded and not decision.replayed:
            assert decision.user_id is not None
            assert decision.recorded_at is not None
            clock = clocks.setdefault(compute_shard(decision.user_id), decision.recorded_at)
            assert clock == decision.recorded_at
    return clocks


def _visible(decision: Decision | None) -> Decision | None:
    """Return a decision in the specification's form."""
    if decision is None:
        return None
    timestamp = decision.timestamp
    if timestamp is not None and timestamp.year == 1:  # the driver's value for -infinity
        timestamp = None
    return decision._replace(timestamp=timestamp)
