"""The database that the settings name: its start, its preparation and its checks."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from enum import Enum

from saldo.settings.model import Settings
from saldo.store.citus.coordinator import find_coordinator_url
from saldo.store.connections.connection import check_connection, read_only_pools
from saldo.store.connections.parameters import check_connection_string
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import ConfigurationError, DatabaseUnavailableError
from saldo.store.schema.migrate import check_schema_compatibility, migrate_schema, prepare_schema
from saldo.store.schema.roles import warn_about_rights, warn_about_unverified_tls


class Purpose(Enum):
    """The purpose for which a command uses the database. It decides what is prepared."""

    SERVE = "serve"
    """The service runs on the database. The database is migrated, and the ledger's rules are set."""
    GRANT = "grant"
    """A command grants the service's role its rights. The database is migrated, and the ledger's rules are not
    changed."""
    CHANGE = "change"
    """A command writes to the ledger. If the database has no ledger, one is created; otherwise the schema is not
    changed."""
    READ = "read"
    """A command only reads. It does not change the database and does not block writers."""


class Database:
    """The database that the settings name. An embedded server is started, and the database is prepared for the purpose.

    The object is a context manager that returns the connection string of the service's role. Pools that are opened
    inside a context with the purpose READ are read-only.

    Raises:
        ConfigurationError: the database can't be used. The message is one line for the operator.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        beside_service: bool = False,
        purpose: Purpose = Purpose.SERVE,
        may_start: bool = True,
    ) -> None:
        """
        Args:
            beside_service: if a running service has started the embedded server, use that server.
            purpose: the purpose, which decides what is prepared.
            may_start: whether the embedded server is started if it is not running.
        """
        self._purpose = purpose
        self._read_only_pools = ExitStack()
        self._settings = settings
        self._beside_service = beside_service
        self._may_start = may_start
        self._embedded: EmbeddedServer | None = None
        self._attached: EmbeddedServer | None = None

    @property
    def owner_role_url(self) -> str:
        """The connection string of the role that owns the schema. An embedded server must have been started."""
        server = self._embedded or self._attached
        if server is not None:
            return server.owner_role_url
        assert self._settings.database_url is not None
        return find_coordinator_url(
            self._settings.database_owner_url or self._settings.database_url
        )

    def __enter__(self) -> str:
        _check_connection_strings(self._settings)
        if self._settings.database_url is None:
            server = EmbeddedServer(
                self._settings.data_dir, archive_dir=self._settings.wal_archive_dir
            )
            if self._beside_service and server.attach_to_running_server():
                self._attached = server
                return self._prepare_for_purpose(server.service_role_url)
            if not self._may_start:
                raise DatabaseUnavailableError(
                    f"SALDO_DATABASE_URL is not set, and no service is running on {self._settings.data_dir} "
                    "(SALDO_DATA_DIR): set SALDO_DATABASE_URL, start `saldo serve`, or use --local to start the "
                    "embedded database in that directory"
                )
            if self._purpose is Purpose.READ and not server.is_cluster_created():
                raise ConfigurationError(
                    f"there is no ledger in {self._settings.data_dir} (SALDO_DATA_DIR)"
                )
            self._embedded = server
            server.start()
        try:
            return self._prepare_for_purpose(self._build_service_role_url())
        except BaseException:
            self.__exit__()
            raise

    def _build_service_role_url(self) -> str:
        if self._embedded is not None:
            return self._embedded.service_role_url
        assert self._settings.database_url is not None
        return find_coordinator_url(self._settings.database_url)

    def _prepare_for_purpose(self, service_role_url: str) -> str:
        """Prepare the database for the purpose, and return the connection string of the service's role."""
        settings = self._settings
        if self._purpose is Purpose.SERVE:
            return service_role_url if self._attached is not None else self.prepare()
        if self._purpose is Purpose.GRANT:
            if self._attached is None:
                migrate_schema(self.owner_role_url, service_role_url)
            return service_role_url
        if self._purpose is Purpose.READ:
            self._read_only_pools.enter_context(read_only_pools())
        if not check_schema_compatibility(
            service_role_url,
            currency_decimals=settings.currency_decimals,
            max_lateness=settings.max_lateness,
        ):
            if self._purpose is Purpose.READ or self._attached is not None:
                raise ConfigurationError(
                    "there is no ledger in the database: start saldo serve, or run saldo db migrate"
                )
            return self.prepare()
        return service_role_url

    def prepare(self) -> str:
        """Migrate and check the database, and return the connection string of the service's role."""
        settings = self._settings
        service_role_url = self._build_service_role_url()
        prepare_schema(
            self.owner_role_url,
            service_role_url,
            currency_decimals=settings.currency_decimals,
            max_lateness=settings.max_lateness,
        )
        # The migrations may have used another role, so the password, the rights and the route of the service's role are
        # checked as well.
        asyncio.run(check_connection(service_role_url))
        warn_about_rights(service_role_url)
        warn_about_unverified_tls(_list_connection_strings(settings))
        return service_role_url

    def __exit__(self, *_: object) -> None:
        self._read_only_pools.close()
        if self._embedded is not None:
            self._embedded.stop()


def _list_connection_strings(settings: Settings) -> dict[str, str | None]:
    """Return the connection strings in the settings, by the names of the settings."""
    return {
        "SALDO_DATABASE_URL": settings.database_url,
        "SALDO_DATABASE_OWNER_URL": settings.database_owner_url,
        "SALDO_DATABASE_REPLICA_URL": settings.database_replica_url,
    }


def _check_connection_strings(settings: Settings) -> None:
    """Check the connection strings in the settings before anything connects.

    Raises:
        ConfigurationError: a string can't be used. The message names the setting, and does not quote the string, which
            may contain a password.
    """
    for name in ("database_url", "database_owner_url", "database_replica_url"):
        url = getattr(settings, name)
        if url is None:
            continue
        try:
            check_connection_string(url)
        except ConfigurationError as error:
            raise ConfigurationError(f"SALDO_{name.upper()}: {error}") from None
