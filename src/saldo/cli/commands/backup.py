"""`saldo backup`, `saldo restore` and `saldo upgrade` work on the files of the embedded database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from saldo.bootstrap.logging_setup import set_up_logging
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json
from saldo.cli.output import format_count, print_confirmation, print_json, print_line
from saldo.cli.times import parse_optional_time
from saldo.ledger.instants import format_instant
from saldo.settings import model as settings_module
from saldo.settings.model import Settings
from saldo.store.embedded import EmbeddedServer
from saldo.store.embedded.backup import back_up, is_backup
from saldo.store.embedded.backup import restore as restore_backup
from saldo.store.embedded.upgrade import upgrade as upgrade_data
from saldo.store.embedded.wal_archive import Recovery
from saldo.store.errors import ConfigurationError
from saldo.store.schema.integrity_check import IntegrityReport


def backup(
    directory: Annotated[Path, typer.Argument(help="Directory to create for this backup.")],
    json_: Json = False,
) -> None:
    """Back up the embedded database and verify the copy.

    The service may run meanwhile.
    """
    settings = _load_embedded_settings()
    if directory.exists():
        raise CommandError(
            f"{directory} already exists: choose a new directory for each backup", ExitCode.USAGE
        )
    with _provide_server(settings) as server:
        size_bytes = back_up(server, directory)
    print_confirmation(
        f"{directory}: backup of {settings.data_dir}, {size_bytes / 1e6:,.0f} MB, verified",
        {
            "directory": str(directory),
            "data_dir": str(settings.data_dir),
            "size_bytes": size_bytes,
            "verified": True,
        },
        as_json=json_,
    )


def restore(
    backup: Annotated[Path, typer.Argument(help="Directory that `saldo backup` created.")],
    data_dir: Annotated[
        Path, typer.Option(help="Data directory to create. It must not exist, or it must be empty.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            help="Time to restore to; later transactions are not restored. The default is the end of the WAL archive."
        ),
    ] = None,
    wal_archive: Annotated[
        Path | None,
        typer.Option(
            help="WAL archive with the changes since the backup (SALDO_WAL_ARCHIVE_DIR). Without one, only the "
            "backup is restored."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Restore a backup into a new data directory.

    Changes after the backup are restored from the WAL archive. The restored ledger is checked.
    """
    settings = _load_embedded_settings()
    archive = wal_archive or settings.wal_archive_dir
    if archive is not None and not archive.is_dir():
        raise CommandError(
            f"the WAL archive {archive} is not a directory: correct --wal-archive or SALDO_WAL_ARCHIVE_DIR",
            ExitCode.USAGE,
        )
    if to is not None and archive is None:
        raise CommandError(
            "--to requires a WAL archive: use --wal-archive, or set SALDO_WAL_ARCHIVE_DIR",
            ExitCode.USAGE,
        )
    until = parse_optional_time("--to", to)
    if not is_backup(backup):
        raise CommandError(f"{backup} is not a backup that `saldo backup` created", ExitCode.USAGE)
    recovery = Recovery(None if archive is None else archive.resolve(), until)
    restored = restore_backup(backup, data_dir, recovery)
    if json_:
        print_json({"data_dir": str(data_dir)} | _build_counts_document(restored.integrity))
        return
    print_line(
        f"{data_dir}: {_format_counts(restored.integrity)}; every balance is the sum of the posted transactions"
    )
    print_line(
        f"to use it, start the service with SALDO_DATA_DIR={data_dir}; then make a new backup"
    )


def upgrade(
    programs: Annotated[
        Path | None,
        typer.Option(
            help="Directory with the programs of the old PostgreSQL (postgres, initdb). By default Saldo "
            "searches for it."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Upgrade the embedded database to a newer PostgreSQL.

    The data is copied to the PostgreSQL of this version of Saldo, and the ledger is checked. The old database is kept.
    """
    settings = _load_embedded_settings()
    done = upgrade_data(settings.data_dir, programs)
    data_dir = {"data_dir": str(settings.data_dir)}
    if done is None:
        line = f"{settings.data_dir}: the database already has the PostgreSQL of this version"
        print_confirmation(line, data_dir | {"upgraded": False}, as_json=json_)
        return
    if json_:
        versions = {"upgraded": True, "before": done.before, "after": done.after}
        print_json(
            data_dir | versions | {"kept": str(done.kept)} | _build_counts_document(done.integrity)
        )
        return
    print_line(
        f"{settings.data_dir}: upgraded from PostgreSQL {done.before} to {done.after}, "
        f"{_format_counts(done.integrity)}"
    )
    print_line(f"the old database is in {done.kept}: delete it when you no longer need it")


def _load_embedded_settings() -> Settings:
    settings = settings_module.load_settings()
    set_up_logging(settings)
    if settings.database_url is not None:
        raise CommandError(
            "this command is for the embedded database, but SALDO_DATABASE_URL is set; see docs/howto/operate.md for "
            "backups of your own PostgreSQL",
            ExitCode.USAGE,
        )
    return settings


@contextmanager
def _provide_server(settings: Settings) -> Iterator[EmbeddedServer]:
    """Provide the database server. It is that of the running service, or else a server that is stopped when the block
    ends."""
    server = EmbeddedServer(settings.data_dir, archive_dir=settings.wal_archive_dir)
    if server.attach_to_running_server():
        yield server
        return
    if not server.cluster.exists():
        raise ConfigurationError(f"there is no database in {settings.data_dir} (SALDO_DATA_DIR)")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _format_counts(report: IntegrityReport) -> str:
    last = report.last_recorded_at
    until = "" if last is None else f", the last recorded at {format_instant(last)}"
    return f"{format_count(report.users, 'user')}, {format_count(report.entries, 'entry')}{until}"


def _build_counts_document(report: IntegrityReport) -> dict[str, Any]:
    return {
        "users": report.users,
        "entries": report.entries,
        "last_recorded_at": report.last_recorded_at,
    }
