"""A statement that reaches the server after its retry: what the client was told stays true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from harness.postgresql.databases import Database
from harness.program.settings import create_settings
from saldo.bootstrap.service import create_engine
from saldo.engine.errors import OutcomeUnknownError
from saldo.ledger.model import Decision, Outcome, TransactionRequest
from saldo.store.embedded import EmbeddedServer

POST = b"FROM saldo.post_"


class HoldingProxy:
    """A proxy that holds back what its first client sends from the first post on, with the connection to the server."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.port = 0
        self.held = asyncio.Event()
        self.passed_on = asyncio.Event()
        self.dropped = asyncio.Event()
        self._first = True

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            self.dropped.set()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_unix_connection(str(self._socket))
        back = asyncio.ensure_future(self._back(behind_reader, writer))
        prepared = b""
        while chunk := await reader.read(65536):
            # The statement's name occurs once, when it is prepared; after that the connection only sends arguments.
            if self._first and (POST in chunk or POST in prepared):
                if POST in prepared:
                    self._first = False
                    await self._hold(chunk, behind_writer)
                    break
                prepared = chunk
            behind_writer.write(chunk)
        behind_writer.close()
        back.cancel()
        writer.close()

    async def _hold(self, chunk: bytes, behind: asyncio.StreamWriter) -> None:
        self.held.set()
        ends = [asyncio.ensure_future(each.wait()) for each in (self.passed_on, self.dropped)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self.passed_on.is_set():
            behind.write(chunk)
            await self.dropped.wait()
        for end in ends:
            end.cancel()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)


def _create_user(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT saldo.create_user_1('late')")


def _count_transactions(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM saldo.transactions WHERE kind <> 0"
        ).fetchone()
    return int(row[0]) if row else 0


async def _until_answered(url: str, answered: int) -> None:
    """Wait until the second lane's connection has finished `answered` calls."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'saldo lane 0'"
    with psycopg.connect(url, autocommit=True) as connection:
        while (connection.execute(query).fetchone() or (0,))[0] < answered:
            await asyncio.sleep(0)


@pytest.mark.parametrize("end", ["runs late", "never runs", "stays"])
async def test_no_refusal_is_final_while_the_lost_statement_may_still_run(
    embedded_server: EmbeddedServer, own_ledger: Database, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    proxy = HoldingProxy(embedded_server.socket_dir / ".s.PGSQL.5432")
    request = TransactionRequest(uuid4(), 1, 100, None)
    direct = own_ledger.service_role_url
    if end == "stays":
        monkeypatch.setattr("saldo.engine.lane.UNSETTLED_SECONDS_MAX", 0.1)
    async with proxy.listen():
        parts = psycopg.conninfo.conninfo_to_dict(direct)
        url = (
            f"postgresql://{parts['user']}:{parts.get('password', '')}@127.0.0.1:{proxy.port}"
            f"/{parts['dbname']}"
        )
        engine = create_engine(
            create_settings(url, batch_timeout_seconds=0.3, request_deadline_seconds=30), url
        )
        engine.start()
        post = asyncio.ensure_future(engine.post(request))
        await proxy.held.wait()
        answer: Decision | None = None
        if end == "stays":
            with pytest.raises(OutcomeUnknownError):
                await post
        else:
            # The first attempt has timed out, and the second finds no user; that must not be the final answer yet.
            await _until_answered(embedded_server.superuser_url, 2)
            await asyncio.sleep(0)
            assert not post.done()
            if end == "runs late":
                _create_user(direct)
                proxy.passed_on.set()
            else:
                proxy.dropped.set()
            answer = await post
        await engine.stop(5)
    if end == "runs late":
        assert answer is not None and answer.outcome is Outcome.POSTED
        assert _count_transactions(direct) == 1
    elif end == "never runs":
        assert answer == Decision(Outcome.USER_NOT_FOUND)
        assert _count_transactions(direct) == 0
