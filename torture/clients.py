"""Clients: each does one thing after the other over a connection of its own, and writes down what it learnt.

What a client asks comes from the seed; when it is answered does not.
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

from torture.connection import Answer, Connection, NoAnswerError, connection
from torture.history import (
    Call,
    ListTransactions,
    Operation,
    Post,
    ReadBalance,
    ReadTransaction,
    Recorder,
)

PATIENCE_SECONDS = (2.0, 5.0, 12.0)
"""How long a client waits for an answer: some less than the service does before it says that it doesn't know."""

THINKING_SECONDS_MAX = 0.04

AGAIN_SECONDS = 0.1
"""After no answer: a service that is away refuses connections at once."""

DEPOSIT_ATTEMPTS_MAX = 50

DECIDED = frozenset({200, 402, 404, 409, 422})
"""Answers that say what has become of a post."""


class Board:
    """What clients know of each other, and the history they write together."""

    def __init__(self, recorder: Recorder, users: Sequence[int], ports: Sequence[int]) -> None:
        self._recorder = recorder
        self.users = users
        self.ports = ports
        self.sent: deque[Post] = deque(maxlen=200)
        """Posts of late: to be sent by another client too, or read."""
        self.moments: deque[str] = deque(maxlen=200)
        """Dates that are worth a question."""
        self.counts: Counter[str] = Counter()
        self.answered: list[float] = []
        """When a post was decided: the times between are those in which nobody was served."""
        self.unknown_at = 0.0
        """When it was last left open what has become of a post, by the clock of the history."""
        self.numbers = count()
        """For each client one of its own."""

    def record(self, client: int, invoked: float, call: Call, answer: Answer | None) -> None:
        """One call, as it ended."""
        self.record_line(
            client,
            invoked,
            call,
            None if answer is None else (answer.status, _body(answer), answer.replayed),
        )

    def record_line(
        self,
        client: int,
        invoked: float,
        call: Call,
        outcome: tuple[int, Any, bool] | None,
    ) -> None:
        """One line of a bulk, or a call: its status, its body and whether it was replayed."""
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
        if isinstance(call, Post) and status in DECIDED:
            self.answered.append(now)


def _body(answer: Answer) -> Any:
    try:
        return answer.content
    except ValueError:
        return None


class Client:
    """One of many."""

    def __init__(self, board: Board, seed: str, began: datetime) -> None:
        """
        Args:
            began: when the run did: late entries are of the day before.
        """
        self._board = board
        self._number = next(board.numbers)
        self._random = random.Random(seed)
        self._began = began
        self._stopping = False
        patience = self._random.choice(PATIENCE_SECONDS)
        self._connections = [Connection(port, patience) for port in board.ports]

    def stop(self) -> None:
        """What is under way is the last thing it does."""
        self._stopping = True

    async def run(self) -> None:
        """Until it is told to stop; if it is cancelled, what is under way is recorded as not answered."""
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
                await asyncio.sleep(self._random.random() * THINKING_SECONDS_MAX)
        finally:
            for each in self._connections:
                each.close()

    async def _post(self) -> None:
        """Until it is decided, often at the other service; sometimes given up."""
        post = self._new_post()
        self._board.sent.append(post)
        connection = self._any()
        while await self._send(connection, post) not in DECIDED and self._goes_on():
            await asyncio.sleep(self._random.random() * 0.3)
            if self._random.random() < 0.6:
                connection = self._any()

    def _goes_on(self) -> bool:
        return not self._stopping and self._random.random() > 0.15

    async def _post_same_as_another(self) -> None:
        if self._board.sent:
            await self._send(self._any(), self._random.choice(self._board.sent))

    async def _send(self, connection: Connection, post: Post) -> int | None:
        answer = await self._ask(connection, post, "/v1/transaction", content(post))
        return None if answer is None else answer.status

    async def _post_many(self) -> None:
        """Some lines together: an operation each."""
        posts = [self._new_post() for _ in range(self._random.randint(2, 12))]
        self._board.sent.extend(posts)
        invoked = time.monotonic()
        lines: dict[int, dict[str, Any]] = {}
        try:
            answer = await self._any().post("/v1/transactions", [content(post) for post in posts])
            if answer.status == 200:
                lines = {line["line"]: line for line in _lines(answer)}
        except NoAnswerError:
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
        await self._ask(self._any(), call, path, None)

    async def _ask(
        self, connection: Connection, call: Call, path: str, body: dict[str, Any] | None
    ) -> Answer | None:
        """Asks once, and records it whatever comes of it."""
        invoked = time.monotonic()
        answer: Answer | None = None
        try:
            answer = await (connection.get(path) if body is None else connection.post(path, body))
        except NoAnswerError:
            pass
        finally:
            self._board.record(self._number, invoked, call, answer)
        if answer is None:
            await asyncio.sleep(AGAIN_SECONDS)
        return answer

    def _any(self) -> Connection:
        return self._random.choice(self._connections)

    def _user(self) -> int:
        """A few are asked for most of the time."""
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
        """One of the day before the run, often one that was taken already."""
        moments = self._board.moments
        if moments and self._random.random() < 0.6:
            return self._random.choice(moments)
        before = timedelta(seconds=self._random.randint(0, 86_400))
        moment = (self._began - before).isoformat().replace("+00:00", "Z")
        moments.append(moment)
        return moment


async def among(clients: Sequence[Client], work: Coroutine[Any, Any, None]) -> None:
    """Does some work while clients do what clients do; ended, they have ended what they had begun."""
    running = [asyncio.create_task(client.run()) for client in clients]
    working = asyncio.create_task(work)
    try:
        # A client ends only by a mistake of ours: that must not go unseen.
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


def content(post: Post) -> dict[str, Any]:
    """As it is sent."""
    body: dict[str, Any] = {
        "uuid": post.uuid,
        "user_id": post.user_id,
        "type": post.type,
        "amount": post.amount,
    }
    return body if post.timestamp is None else body | {"timestamp": post.timestamp}


def uuid_of(source: random.Random) -> str:
    """A uuid from the seed."""
    text = f"{source.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _lines(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.body.splitlines()]


async def deposit(board: Board, port: int, user_id: int) -> str:
    """A cent, sent until it is posted: its uuid."""
    post = Post(str(uuid4()), user_id, "DEPOSIT", "0.01")
    client = next(board.numbers)
    async with connection(port, max(PATIENCE_SECONDS)) as asked:
        for _ in range(DEPOSIT_ATTEMPTS_MAX):
            invoked = time.monotonic()
            answer = None
            try:
                answer = await asked.post("/v1/transaction", content(post))
            except NoAnswerError:
                await asyncio.sleep(AGAIN_SECONDS)
            finally:
                board.record(client, invoked, post, answer)
            if answer is not None and answer.status == 200:
                return post.uuid
    raise RuntimeError(f"a deposit is not posted: {answer}")


async def create_users(ports: Sequence[int], count_of_users: int) -> list[int]:
    """Users of the run."""
    async with connection(ports[0], 30) as asked:
        return [
            (await asked.post("/v1/user", {"name": f"user {number}"})).content["id"]
            for number in range(count_of_users)
        ]
