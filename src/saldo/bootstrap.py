"""The only place that wires objects together; the order of start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from saldo.engine.engine import Engine, EngineLimits
from saldo.http.app import create_app
from saldo.http.bulk import Bulk
from saldo.http.hot import Front
from saldo.http.questions import Questions
from saldo.http.service import Service
from saldo.http.transactions import Transactions
from saldo.http.wire import Reading
from saldo.ledger.model import Limits
from saldo.settings import Settings
from saldo.store.connection import check
from saldo.store.embedded import EmbeddedServer
from saldo.store.migrate import prepare
from saldo.store.poster import Poster
from saldo.store.reader import Reader


class Database:
    """The database that the settings name, made ready: started if embedded, migrated, checked.

    A context manager; gives the connection string of the service's role.

    Raises:
        SetUpError: one line for the operator.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._embedded: EmbeddedServer | None = None

    def __enter__(self) -> str:
        if self._settings.database_url is None:
            self._embedded = EmbeddedServer(self._settings.data_dir)
            self._embedded.start()
        try:
            return self.prepare()
        except BaseException:
            self.__exit__()
            raise

    def prepare(self) -> str:
        """Migrates and checks; the connection string of the service's role."""
        settings = self._settings
        if self._embedded is not None:
            service_url, owner_url = self._embedded.service_url, self._embedded.owner_url
        else:
            assert settings.database_url is not None
            service_url = settings.database_url
            owner_url = settings.database_owner_url or service_url
        prepare(
            owner_url,
            service_url,
            currency_decimals=settings.currency_decimals,
            max_lateness=settings.max_lateness,
        )
        # The migrations may have used another role: this one's password, rights and way there.
        asyncio.run(check(service_url))
        return service_url

    def __exit__(self, *_: object) -> None:
        if self._embedded is not None:
            self._embedded.stop()


def limits_of(settings: Settings) -> Limits:
    """The ledger's limits as the operator set them."""
    return Limits(
        balance_max=settings.balance_max_minor,
        future_tolerance=settings.future_tolerance,
        max_lateness=settings.max_lateness,
        late_check_entries_max=settings.late_check_entries_max,
    )


def reading_of(settings: Settings) -> Reading:
    """How requests are read."""
    return Reading(
        zone=settings.tzinfo,
        decimals=settings.currency_decimals,
        amount_max_minor=settings.amount_max_minor,
        name_length_max=settings.name_length_max,
    )


def create_engine(settings: Settings, database_url: str) -> Engine:
    """The engine over lanes that connect to the database when they first need it."""
    limits = limits_of(settings)

    async def connect(lane: int) -> Poster:
        return await Poster.open(
            database_url,
            limits,
            lane=lane,
            statement_timeout_seconds=settings.batch_timeout_seconds,
        )

    return Engine(
        connect,
        EngineLimits(
            lanes=settings.lane_count,
            batch_requests_max=settings.batch_requests_max,
            split_requests_min=settings.split_requests_min,
            queue_requests_max=settings.queue_requests_max,
            request_deadline_seconds=settings.request_deadline_seconds,
            batch_timeout_seconds=settings.batch_timeout_seconds,
        ),
    )


@asynccontextmanager
async def running(settings: Settings, database_url: str) -> AsyncIterator[Front]:
    """The application with everything behind it started; stops in the opposite order."""
    reading = reading_of(settings)
    engine = create_engine(settings, database_url)
    reader = await Reader.open(
        database_url,
        connections=settings.read_connections,
        timeout_seconds=settings.read_timeout_seconds,
        entries_read_max=settings.page_entries_read_max,
    )
    engine.start()
    try:
        service = Service(
            settings,
            reading,
            engine,
            reader,
            Transactions(engine, reading),
            Bulk(engine, reading, settings),
            Questions(reader, reading),
        )
        yield create_app(service)
    finally:
        await engine.stop(settings.stop_seconds)
        await reader.close()
