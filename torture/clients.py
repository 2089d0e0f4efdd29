"""Clients of the suite: each makes one call after the other on its own connections, and records the results.

The requests of a client are chosen from the seed; the times of the answers are not.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, deque
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from torture.connection import Answer, Connection, RequestFailedError, open_connection
from torture.history import (
    Call,
    ListTransactions,
    Operation,
    Post,
    ReadBalance,
    ReadTransaction,
    Recorder,
)

REQUEST_TIMEOUTS_SECONDS = (2.0, 5.0, 12.0)
"""Request timeouts of clients, in seconds. Some are shorter than the service's own deadline, so that the client gives
up before the service answers."""

PAUSE_SECONDS_MAX = 0.04

RETRY_PAUSE_SECONDS = 0.1
"""Pause after a request without an answer, in seconds. Without it, clients would retry in a tight loop, because an
unavailable service refuses connections immediately."""

DEPOSIT_ATTEMPTS_MAX = 50

FINAL_STATUSES = frozenset({200, 402, 404, 409, 422})
"""Statuses of answers that are the final outcome of a post."""


class SharedState:
    """State that all clients share, and the history that they record together."""

    def __init__(self, recorder: Recorder, users: Sequence[int], ports: Sequence[int]) -> None:
        self._recorder = recorder
        self.users = users
        self.ports = ports
        self.sent: deque[Post] = deque(maxlen=200)
        """Recent posts, for other clients to send again or to read."""
        self.moments: deque[str] = deque(maxlen=200)
        """Dates used in recent requests, for use in later ones."""
        self.counts: Counter[str] = Counter()
        self.answered: list[float] = []
        """Times at which posts were decided; the gaps between them are the times without service."""
        self.unknown_at = 0.0
        """Time of the last post whose outcome is unknown, by the clock of the history."""
        self.numbers = count()
        """Numbers of clients: each client takes one."""

    def record(self, client: int, invoked: float, call: Call, answer: Answer | None) -> None:
        """Record one call, and its answer if there was one."""
        self.record_line(
            client,
            invoked,
            call,
            None if answer is None else (answer.status, _body(answer), answer.is_replayed),
        )

    def record_line(
        self,
        client: int,
        invoked: float,
        call: Call,
        outcome: tuple[int, Any, bool] | None,
    ) -> None:
        """Record one call, or one line of a bulk request. `outcome` is its status, its body, and whether it was
        replayed."""
        now = time.monotonic()
        kind = type(call).__name__
        if isinstance(call, Post) and (outcome is None or outcome[0] >= 500):
            self.unknown_at = now
        if outcome is None:
            self._recorder.add(Operation(client, invoked, None, call))
            self.counts[f"{kind} unanswered"] += 1
            return
        status, body, replayed = outcome
        self._recorder.add(Operation(client, invoked, now, call, status, body, replayed))
        self.counts[f"{kind} {status}"] += 1
        if isinstance(call, Post) and status in FINAL_STATUSES:
            self.answered.append(now)


def _body(answer: Answer) -> Any:
    try:
        return answer.content
    except ValueError:
        return None


class Client:
    """One of many concurrent clients."""

    def __init__(self, board: SharedState, seed: str, began: datetime) -> None:
        """Create a client that connects to every port of the board.

        Args:
            began: when the run began; late entries have timestamps within the day before.
        """
        self._board = board
        self._number = next(board.numbers)
        self._random = random.Random(seed)
        self._began = began
        self._stopping = False
        patience = self._random.choice(REQUEST_TIMEOUTS_SECONDS)
        self._connections = [Connection(port, patience) for port in board.ports]

    def stop(self) -> None:
        """Stop after the current action."""
        self._stopping = True

    async def run(self) -> None:
        """Run until the client is stopped. If it is cancelled, the current request is recorded as not answered."""
        try:
            while not self._stopping:
                await self._random.choices(
                    (
                        self._post,
                        self._post_same_as_another,
                        self._post_many,
                        self._read_balance,
                        self._read_at_date,
                        self._list,
                        self._read_transaction,
                    ),
                    (40, 5, 8, 12, 15, 8, 12),
                )[0]()
                await asyncio.sleep(self._random.random() * PAUSE_SECONDS_MAX)
        finally:
            for each in self._connections:
                each.close()

    async def _post(self) -> None:
        """Send a transaction until it is decided. Often switch to the other service between attempts, and sometimes
        give up."""
        post = self._new_post()
        self._board.sent.append(post)
        connection = self._choose_connection()
        while await self._send(connection, post) not in FINAL_STATUSES and self._should_retry():
            await asyncio.sleep(self._random.random() * 0.3)
            if self._random.random() < 0.6:
                connection = self._choose_connection()

    def _should_retry(self) -> bool:
        return not self._stopping and self._random.random() > 0.15

    async def _post_same_as_another(self) -> None:
        if self._board.sent:
            await self._send(self._choose_connection(), self._random.choice(self._board.sent))

    async def _send(self, connection: Connection, post: Post) -> int | None:
        answer = await self._ask(connection, post, "/v1/transaction", request_body(post))
        return None if answer is None else answer.status

    async def _post_many(self) -> None:
        """Send several lines as one bulk request, and record each line as an operation."""
        posts = [self._new_post() for _ in range(self._random.randint(2, 12))]
        self._board.sent.extend(posts)
        invoked = time.monotonic()
        lines: dict[int, dict[str, Any]] = {}
        try:
            answer = await self._choose_connection().post(
                "/v1/transactions", [request_body(post) for post in posts]
            )
            if answer.status == 200:
                lines = {line["line"]: line for line in _lines(answer)}
        except RequestFailedError:
            pass
        finally:
            for number, post in enumerate(posts, 1):
                line = lines.get(number)
                outcome = line and (line["status"], line, line.get("replayed", False))
                self._board.record_line(self._number, invoked, post, outcome or None)

    async def _read_balance(self) -> None:
        user_id = self._user()
        await self._read(ReadBalance(user_id), f"/v1/user/{user_id}/balance")

    async def _read_at_date(self) -> None:
        user_id, date = self._user(), self._moment()
        path = f"/v1/user/{user_id}/balance?date={quote(date)}"
        await self._read(ReadBalance(user_id, date), path)

    async def _list(self) -> None:
        user_id, limit = self._user(), self._random.choice((1, 5, 20))
        await self._read(
            ListTransactions(user_id, limit), f"/v1/user/{user_id}/transactions?limit={limit}"
        )

    async def _read_transaction(self) -> None:
        if self._board.sent:
            post = self._random.choice(self._board.sent)
            await self._read(
                ReadTransaction(post.uuid, post.user_id), f"/v1/transaction/{post.uuid}"
            )

    async def _read(self, call: Call, path: str) -> None:
        await self._ask(self._choose_connection(), call, path, None)

    async def _ask(
        self, connection: Connection, call: Call, path: str, body: dict[str, Any] | None
    ) -> Answer | None:
        """Send one request and record its result, whatever it is."""
        invoked = time.monotonic()
        answer: Answer | None = None
        try:
            answer = await (connection.get(path) if body is None else connection.post(path, body))
        except RequestFailedError:
            pass
        finally:
            self._board.record(self._number, invoked, call, answer)
        if answer is None:
            await asyncio.sleep(RETRY_PAUSE_SECONDS)
        return answer

    def _choose_connection(self) -> Connection:
        return self._random.choice(self._connections)

    def _user(self) -> int:
        """Choose a user. A few users are chosen most of the time."""
        users = self._board.users
        hot = users[: max(1, len(users) // 8)]
        return self._random.choice(hot if self._random.random() < 0.7 else users)

    def _new_post(self) -> Post:
        withdraws = self._random.random() < 0.5
        largest = 3000 if self._random.random() < 0.1 else 100
        amount = self._random.randint(1, largest * 100)
        moment = self._moment() if self._random.random() < 0.25 else None
        return Post(
            uuid_of(self._random),
            self._user(),
            "WITHDRAW" if withdraws else "DEPOSIT",
            f"{amount // 100}.{amount % 100:02d}",
            moment,
        )

    def _moment(self) -> str:
        """Choose a timestamp within the day before the run. Often it is one that was used before."""
        moments = self._board.moments
        if moments and self._random.random() < 0.6:
            return self._random.choice(moments)
        before = timedelta(seconds=self._random.randint(0, 86_400))
        moment = (self._began - before).isoformat().replace("+00:00", "Z")
        moments.append(moment)
        return moment


async def run_while_clients_work(
    clients: Sequence[Client], work: Coroutine[Any, Any, None]
) -> None:
    """Run a coroutine while the clients work; then let every client finish its current action."""
    running = [asyncio.create_task(client.run()) for client in clients]
    working = asyncio.create_task(work)
    try:
        # A client ends by itself only because of a bug in the suite, which must not go unnoticed.
        await asyncio.wait({working, *running}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
        for client in clients:
            client.stop()
        await asyncio.gather(*running)
    finally:
        for task in (working, *running):
            task.cancel()
        await asyncio.gather(working, *running, return_exceptions=True)


def request_body(post: Post) -> dict[str, Any]:
    """Return the JSON body of a post."""
    body: dict[str, Any] = {
        "uuid": post.uuid,
        "user_id": post.user_id,
        "type": post.type,
        "amount": post.amount,
    }
    return body if post.timestamp is None else body | {"timestamp": post.timestamp}


def uuid_of(source: random.Random) -> str:
    """Draw a uuid from a seeded random source."""
    text = f"{source.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _lines(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.body.splitlines()]


async def deposit(board: SharedState, port: int, user_id: int) -> str:
    """Post a deposit of one cent, retrying until it is posted, and return its uuid."""
    post = Post(str(uuid4()), user_id, "DEPOSIT", "0.01")
    client = next(board.numbers)
    async with open_connection(port, max(REQUEST_TIMEOUTS_SECONDS)) as asked:
        for _ in range(DEPOSIT_ATTEMPTS_MAX):
            invoked = time.monotonic()
            answer = None
            try:
                answer = await asked.post("/v1/transaction", request_body(post))
            except RequestFailedError:
                await asyncio.sleep(RETRY_PAUSE_SECONDS)
            finally:
                board.record(client, invoked, post, answer)
            if answer is not None and answer.status == 200:
                return post.uuid
    raise RuntimeError(f"a deposit is not posted: {answer}")


async def create_users(ports: Sequence[int], count_of_users: int) -> list[int]:
    """Create the users of the run and return their ids."""
    async with open_connection(ports[0], 30) as asked:
        return [
            (await asked.post("/v1/user", {"name": f"user {number}"})).content["id"]
            for number in range(count_of_users)
        ]
