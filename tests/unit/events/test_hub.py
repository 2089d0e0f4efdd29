"""The hub of the live stream on a log in memory: joining, interruptions, another log, slow subscribers."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from saldo.events.event import EVENT_TYPES, TRANSACTION_REFUSED, EventEncoder, EventType
from saldo.events.live import hub as live
from saldo.events.live.hub import (
    Hub,
    LiveLimits,
    PositionGoneError,
    PositionScopeMismatchError,
    Start,
    TooManySubscribersError,
    compute_shards,
)
from saldo.events.live.subscription import EndReason, EventFilter, LiveSubscription
from saldo.events.position import LogPosition, derive_epoch, parse_log_position
from saldo.ledger.model import SEQ_MAX, SHARDS, Kind, Outcome
from saldo.store.errors import ConnectionLostError
from saldo.store.log import LogEntry, LogPage, Positions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = LiveLimits(
    subscribers_max=50, buffer_bytes_max=100_000, heartbeat_seconds=0.01, poll_seconds=0.01
)


class MemoryLog:
    """A log in memory with the interface of `saldo.store.log.Log`, which fails on demand."""

    def __init__(self) -> None:
        self.name = "log-1"
        self.shards: dict[int, list[LogEntry]] = defaultdict(list)
        self.failures = 0
        self.numbers: dict[int, int] = defaultdict(int)

    def append(self, user_id: int, outcome: Outcome = Outcome.POSTED) -> None:
        shard = user_id % SHARDS
        seq = len(self.shards[shard]) + 1
        self.numbers[user_id] += 1
        time = NOW + timedelta(seconds=seq)
        self.shards[shard].append(
            LogEntry(
                shard=shard,
                seq=seq,
                user_id=user_id,
                number=self.numbers[user_id],
                uuid=UUID(int=shard << 64 | seq),
                kind=Kind.DEPOSIT,
                outcome=outcome,
                amount=100,
                balance=100,
                timestamp=time,
                recorded_at=time,
                user_name=None,
            )
        )

    async def read_page(
        self,
        positions: Mapping[int, int],
        per_shard: int,
        *,
        until: Mapping[int, int] | None = None,
        users: Sequence[int] | None = None,
        kinds: Sequence[int] | None = None,
    ) -> LogPage:
        await self._pass()
        entries: list[LogEntry] = []
        reached: Positions = {}
        left = set()
        for shard, seq in positions.items():
            head = len(self.shards[shard])
            end = min(head, SEQ_MAX if until is None else until[shard])
            if seq < end:
                reached[shard] = min(seq + per_shard, end)
                entries += [
                    entry
                    for entry in self.shards[shard][seq : reached[shard]]
                    if (users is None or entry.user_id in users)
                    and (kinds is None or (2 if entry.outcome else 1) in kinds)
                ]
                if reached[shard] < end:
                    left.add(shard)
        return LogPage(entries, reached, left, self.name if reached else None)

    async def read_end(self) -> tuple[str, Positions]:
        await self._pass()
        return self.name, {shard: len(self.shards[shard]) for shard in range(SHARDS)}

    async def find_positions_at(self, moment: datetime) -> Positions:
        return {
            shard: sum(entry.recorded_at < moment for entry in self.shards[shard])
            for shard in range(SHARDS)
        }

    async def _pass(self) -> None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise ConnectionLostError("gone")


@pytest.fixture
async def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def hub(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(live, "BACKOFF_SECONDS", 0.0)
    monkeypatch.setattr("saldo.events.live.subscription.BACKOFF_SECONDS", 0.0)
    hub = Hub(log, EventEncoder(2), LIMITS)  # type: ignore[arg-type]
    yield hub
    await hub.close()


def make_filter(users: set[int] | None = None, *types: EventType) -> EventFilter:
    found = None if users is None else frozenset(users)
    return EventFilter(found, frozenset(types or EVENT_TYPES), compute_shards(found))


def events_of(payload: bytes) -> list[tuple[int, int]]:
    """Return the shard and position of each event."""
    lines = [line for line in payload.split(b"\n") if line.startswith(b"data: ")]
    data = [msgspec.json.decode(line[6:])["data"] for line in lines]
    return [(item["shard"], item["seq"]) for item in data]


def last_id(payload: bytes) -> str:
    found = [line[4:] for line in payload.split(b"\n") if line.startswith(b"id: ")]
    return found[-1].decode() if found else ""


async def take(subscription: LiveSubscription, count: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while len(found) < count:
        found += events_of(await subscription.next())
    return found


async def join(subscription: LiveSubscription) -> None:
    """Read heartbeats until the subscriber is at the tail; on a busy machine there are several."""
    async with asyncio.timeout(60):
        while subscription._step != subscription._take_buffered:
            assert not events_of(await subscription.next())


async def subscribe(
    hub: Hub, start: Start = "now", *, of: EventFilter | None = None
) -> LiveSubscription:
    return await hub.subscribe(of or make_filter(), start)


@pytest.mark.parametrize("seed", range(20))
async def test_events_arrive_once_and_in_order_whenever_a_subscriber_joins(
    hub: Hub, log: MemoryLog, seed: int
) -> None:
    chance = random.Random(seed)
    users = [1, 2, 3, 65, 130]
    stop = asyncio.Event()

    async def post() -> None:
        while not stop.is_set():
            # There are only as many as the followers can keep up with or can read in the end.
            for _ in range(chance.randint(0, 30) if len(log.shards[1]) < 5000 else 0):
                log.append(chance.choice(users))
            hub.wake()
            await asyncio.sleep(0)

    async def follow() -> None:
        for _ in range(chance.randint(0, 20)):
            await asyncio.sleep(0)
        only = set(chance.sample(users, 2)) if chance.random() < 0.5 else None
        seen: list[tuple[int, int]] = []
        start: Start = "start"
        while len(seen) < 300:
            # A slow subscriber is cut off, and resumes from the last id.
            with await subscribe(hub, start, of=make_filter(only)) as subscription:
                while len(seen) < 300 and not subscription.ended.done():
                    payload = await subscription.next()
                    seen += events_of(payload)
                    if last_id(payload):
                        start = parse_log_position(last_id(payload))
                        assert _collect_passed(start.positions, only) == set(seen), (
                            "the id says exactly what has come"
                        )
        assert len(set(seen)) == len(seen)
        for shard in {shard for shard, _ in seen}:
            found = [seq for other, seq in seen if other == shard]
            assert found == sorted(found)

    def _collect_passed(positions: Positions, only: set[int] | None) -> set[tuple[int, int]]:
        return {
            (entry.shard, entry.seq)
            for shard, seq in positions.items()
            for entry in log.shards[shard][:seq]
            if only is None or entry.user_id in only
        }

    posting = asyncio.create_task(post())
    try:
        await asyncio.gather(*(follow() for _ in range(8)))
    finally:
        stop.set()
        await posting


async def test_no_id_is_sent_for_discarded_events(hub: Hub, log: MemoryLog) -> None:
    log.append(1)
    with await subscribe(hub, "start") as subscription:
        assert await take(subscription, 1) == [(1, 1)]
        await join(subscription)
        for _ in range(2):  # the subscriber reads nothing any more
            for _ in range(500):
                log.append(1)
            hub.wake()
            await hub.wait_until_read({1: len(log.shards[1])}, 10)
        await subscription.ended
        assert last_id(await subscription.next()) == ""
        assert last_id(subscription.position_frame) == ""


async def test_stream_waits_for_an_unavailable_database(hub: Hub, log: MemoryLog) -> None:
    log.append(1)
    with await subscribe(hub, "start") as subscription:
        log.failures = 3
        assert await take(subscription, 1) == [(1, 1)]
        await subscription.next()
        log.failures = 3
        log.append(1)
        hub.wake()
        assert await take(subscription, 1) == [(1, 2)]
        assert not subscription.ended.done()


async def test_changed_log_identity_ends_the_stream_and_rejects_old_ids(
    hub: Hub, log: MemoryLog
) -> None:
    log.append(1)
    with await subscribe(hub, "start") as subscription, await subscribe(hub) as second:
        await take(subscription, 1)
        position = parse_log_position(last_id(subscription.position_frame))
        assert position == LogPosition(derive_epoch("log-1"), position.positions)
        await second.next()
        log.name = "log-2"
        log.append(1)
        hub.wake()
        assert await second.ended is EndReason.OTHER_LOG
        assert await subscription.ended is EndReason.OTHER_LOG
    with pytest.raises(PositionGoneError, match="another log"):
        await subscribe(hub, position)


async def test_positions_that_can_not_be_resumed_from(hub: Hub, log: MemoryLog) -> None:
    log.append(1)
    epoch = derive_epoch(log.name)
    with pytest.raises(PositionGoneError, match="past the end"):
        await subscribe(hub, LogPosition(epoch, {1: 2}), of=make_filter({1}))
    with pytest.raises(PositionScopeMismatchError):
        await subscribe(hub, LogPosition(epoch, {1: 1}), of=make_filter({2}))
    with await subscribe(
        hub, LogPosition(epoch, {1: 1, 2: 0}), of=make_filter({1})
    ) as subscription:
        log.append(1)
        assert await take(subscription, 1) == [(1, 2)]


async def test_subscriber_that_does_not_read_is_dropped_and_frees_memory(
    hub: Hub, log: MemoryLog
) -> None:
    with await subscribe(hub) as slow, await subscribe(hub) as quick:
        await join(slow)
        posted = 0
        while not slow.ended.done():
            for _ in range(20):
                log.append(1)
            posted += 20
            hub.wake()
            await take(quick, 20)
        assert slow.ended.result() is EndReason.TOO_SLOW
        assert not slow._buffer
        assert LIMITS.buffer_bytes_max < posted * 500
        assert not quick.ended.done()


async def test_id_advances_over_filtered_events(hub: Hub, log: MemoryLog) -> None:
    only = make_filter({1}, TRANSACTION_REFUSED)
    with await subscribe(hub, of=only) as subscription:
        for _ in range(2000):
            log.append(1)
            log.append(65)
        log.append(1, Outcome.INSUFFICIENT_FUNDS)
        assert await take(subscription, 1) == [(1, 4001)]
        for _ in range(10):
            log.append(65)
        while parse_log_position(last_id(subscription.position_frame)).positions != {1: 4011}:
            assert not events_of(await subscription.next())


async def test_subscriber_limit_and_no_subscriber_after_a_stop(hub: Hub) -> None:
    subscriptions = await asyncio.gather(*(subscribe(hub) for _ in range(50)))
    with pytest.raises(TooManySubscribersError):
        await subscribe(hub)
    with subscriptions[0]:
        pass
    subscriptions[0] = await subscribe(hub)
    hub.stop()
    for subscription in subscriptions:
        with subscription:
            assert await subscription.ended is EndReason.STOPPING
    with pytest.raises(TooManySubscribersError):
        await subscribe(hub)


async def test_tail_is_read_only_while_there_are_subscribers(hub: Hub, log: MemoryLog) -> None:
    followed = []
    for _ in range(3):
        followed.append(hub._tail is not None)
        with await subscribe(hub) as subscription:
            followed.append(hub._tail is not None)
            await subscription.next()
            log.append(1)
            hub.wake()
            assert len(await take(subscription, 1)) == 1
        log.append(1)
    assert followed == [False, True] * 3


async def test_tail_ends_although_the_driver_swallows_the_cancellation(
    hub: Hub, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turn a cancellation into an error, as the driver can. Two tails would deliver every event twice."""
    asked, read_page = asyncio.Event(), log.read_page

    async def break_connection(*arguments: Any, **named: Any) -> LogPage:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionLostError("broken") from None
        raise AssertionError

    with await subscribe(hub) as subscription:
        await join(subscription)
        monkeypatch.setattr(log, "read_page", break_connection)
        await asked.wait()
        first = hub._tail
    monkeypatch.setattr(log, "read_page", read_page)
    assert first is not None
    async with asyncio.timeout(60):
        await asyncio.wait([first])
