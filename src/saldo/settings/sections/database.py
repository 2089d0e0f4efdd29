"""Settings of the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from saldo.settings.section import SettingsSection
from saldo.settings.validators import Unset, check_unambiguous_url, parse_scheme


class DatabaseSettings(SettingsSection):
    """The database connections, and the directories of the embedded server."""

    database_url: Annotated[str | None, Unset] = Field(
        None,
        description="Connection string of a PostgreSQL 15 or newer, as postgresql://user:password@host:port/database. "
        "By default the embedded server in SALDO_DATA_DIR is used.",
    )
    database_owner_url: Annotated[str | None, Unset] = Field(
        None,
        description="Connection string for the same database, as the role that owns the schema. It is used for "
        "migrations only. The default is SALDO_DATABASE_URL.",
    )
    database_replica_url: Annotated[str | None, Unset] = Field(
        None,
        description="Connection string of a streaming replica of the same database. If it names several hosts, the "
        "first that responds is used. Lists, balances at dates and charts are read from the replica, as "
        "far as the replica has received the log. By default all reads use SALDO_DATABASE_URL.",
    )
    data_dir: Path = Field(Path("data"), description="Directory of the embedded PostgreSQL.")
    wal_archive_dir: Annotated[Path | None, Unset] = Field(
        None,
        description="Directory in which the embedded PostgreSQL archives its WAL, for a restore to any time after a "
        "`saldo backup`. It should be on another disk. By default nothing is archived.",
    )

    @field_validator("database_url", "database_owner_url", "database_replica_url")
    @classmethod
    def _check_database_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if parse_scheme(url) not in {"postgresql", "postgres"}:
            raise ValueError("expected postgresql://user:password@host:port/database")
        return check_unambiguous_url(url)
