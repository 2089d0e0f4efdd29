"""The database that the settings name, made ready."""

from __future__ import annotations

import asyncio

from saldo.settings import Settings
from saldo.store.connection import check
from saldo.store.distributed.entry import coordinator_of
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import SetUpError
from saldo.store.migrate import prepare
from saldo.store.roles import warn_of_rights
from saldo.store.url import is_readable


class Database:
    """The database that the settings name, made ready: started if embedded, migrated, checked.

    A context manager; gives the connection string of the service's role.

    Raises:
        SetUpError: one line for the operator.
    """

    def __init__(self, settings: Settings, *, beside_service: bool = False) -> None:
        """
        Args:
            beside_service: use the embedded server of a service that runs, if one does.
        """
        self._settings = settings
        self._beside_service = beside_service
        self._embedded: EmbeddedServer | None = None
        self._attached: EmbeddedServer | None = None

    @property
    def owner_url(self) -> str:
        """The connection string of the role that owns the schema, once it is made ready."""
        server = self._embedded or self._attached
        if server is not None:
            return server.owner_url
        assert self._settings.database_url is not None
        return coordinator_of(self._settings.database_owner_url or self._settings.database_url)

    def __enter__(self) -> str:
        replica_url = self._settings.database_replica_url
        # It may be away now; whether it can be one at all is not to be found out by waiting for it.
        if replica_url is not None and not is_readable(replica_url):
            raise SetUpError(
                "SALDO_DATABASE_REPLICA_URL can't be read: expected postgresql://user:password@host:port/database, "
                "or several host:port with commas between them"
            )
        if self._settings.database_url is None:
            server = EmbeddedServer(
                self._settings.data_dir, archive_dir=self._settings.wal_archive_dir
            )
            if self._beside_service and server.attach():
                self._attached = server
                return server.service_url
            self._embedded = server
            server.start()
        try:
            return self.prepare()
        except BaseException:
            self.__exit__()
            raise

    def prepare(self) -> str:
        """Migrates and checks; the connection string of the service's role."""
        settings = self._settings
        if self._embedded is not None:
            service_url = self._embedded.service_url
        else:
            assert settings.database_url is not None
            service_url = coordinator_of(settings.database_url)
        prepare(
            self.owner_url,
            service_url,
            currency_decimals=settings.currency_decimals,
            max_lateness=settings.max_lateness,
        )
        # The migrations may have used another role: this one's password, rights and way there.
        asyncio.run(check(service_url))
        warn_of_rights(service_url)
        return service_url

    def __exit__(self, *_: object) -> None:
        if self._embedded is not None:
            self._embedded.stop()
