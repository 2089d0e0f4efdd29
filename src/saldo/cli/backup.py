"""`saldo backup`, `saldo restore` and `saldo upgrade`: the embedded database's files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from saldo import settings as settings_module
from saldo.bootstrap.logs import set_up_logging
from saldo.cli.exits import CommandError, Exit
from saldo.cli.options import Json
from saldo.cli.output import confirm, print_json, say
from saldo.ledger.time import InstantError, format_instant, parse_instant
from saldo.settings import Settings
from saldo.store.audit import Audit
from saldo.store.embedded import EmbeddedServer
from saldo.store.embedded.archive import Recovery
from saldo.store.embedded.backup import back_up, is_backup
from saldo.store.embedded.backup import restore as restore_backup
from saldo.store.embedded.upgrade import upgrade as upgrade_data
from saldo.store.errors import SetUpError


def backup(
    directory: Annotated[Path, typer.Argument(help="The directory to make for this backup.")],
    json_: Json = False,
) -> None:
    """Copy the embedded database while the service runs, and verify the copy."""
    settings = _embedded_settings()
    if directory.exists():
        raise CommandError(
            f"{directory} is there already: give each backup a name of its own", Exit.USAGE
        )
    with _server(settings) as server:
        size_bytes = back_up(server, directory)
    confirm(
        f"{directory}: a backup of {settings.data_dir}, {size_bytes / 1e6:,.0f} MB, verified",
        {
            "directory": str(directory),
            "data_dir": str(settings.data_dir),
            "size_bytes": size_bytes,
            "verified": True,
        },
        as_json=json_,
    )


def restore(
    backup: Annotated[Path, typer.Argument(help="A directory that `saldo backup` made.")],
    data_dir: Annotated[
        Path, typer.Option(help="The data directory to make; not there, or empty.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            help="A time: what was committed later is left out. Not given: the end of the archive."
        ),
    ] = None,
    wal_archive: Annotated[
        Path | None,
        typer.Option(
            help="Every change since the backup (SALDO_WAL_ARCHIVE_DIR). None: the backup only."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Make a new data directory of a backup and the WAL archive, and check the ledger in it."""
    settings = _embedded_settings()
    archive = wal_archive or settings.wal_archive_dir
    if archive is not None and not archive.is_dir():
        raise CommandError(f"WAL archive {archive} is not there", Exit.USAGE)
    if to is not None and archive is None:
        raise CommandError(
            "--to needs the WAL archive: --wal-archive, or SALDO_WAL_ARCHIVE_DIR", Exit.USAGE
        )
    try:
        until = None if to is None else parse_instant(to, settings.tzinfo)
    except InstantError as error:
        raise CommandError(f"--to {to!r}: {error}", Exit.USAGE) from None
    if not is_backup(backup):
        raise CommandError(f"{backup} is no backup of saldo backup", Exit.USAGE)
    recovery = Recovery(None if archive is None else archive.resolve(), until)
    found = restore_backup(backup, data_dir, recovery)
    if json_:
        print_json({"data_dir": str(data_dir)} | _counts(found.audit))
        return
    say(f"{data_dir}: {_counted(found.audit)}; every balance is the sum of what was posted")
    say(f"serve it with SALDO_DATA_DIR={data_dir}, and take a new backup then")


def upgrade(
    programs: Annotated[
        Path | None,
        typer.Option(
            help="Where the old version's programs are (postgres, initdb). Not given: looked for."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Move the embedded database to this version's PostgreSQL, and check the ledger in it."""
    settings = _embedded_settings()
    done = upgrade_data(settings.data_dir, programs)
    place = {"data_dir": str(settings.data_dir)}
    if done is None:
        line = f"{settings.data_dir}: there is nothing to upgrade"
        confirm(line, place | {"upgraded": False}, as_json=json_)
        return
    if json_:
        versions = {"upgraded": True, "before": done.before, "after": done.after}
        print_json(place | versions | {"kept": str(done.kept)} | _counts(done.audit))
        return
    say(
        f"{settings.data_dir}: from PostgreSQL {done.before} to {done.after}, {_counted(done.audit)}"
    )
    say(f"the old database is in {done.kept}: remove it when you need it no more")


def _embedded_settings() -> Settings:
    settings = settings_module.load()
    set_up_logging(settings)
    if settings.database_url is not None:
        raise SetUpError(
            "SALDO_DATABASE_URL is set: this is for the embedded database; for your own see "
            "docs/howto/operate.md"
        )
    return settings


@contextmanager
def _server(settings: Settings) -> Iterator[EmbeddedServer]:
    """The server of the service that runs, or else one of our own for as long as it takes."""
    server = EmbeddedServer(settings.data_dir, archive_dir=settings.wal_archive_dir)
    if server.attach():
        yield server
        return
    if not server.cluster.exists():
        raise SetUpError(f"there is no database in {settings.data_dir}")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _counted(audit: Audit) -> str:
    last = audit.last_recorded_at
    until = "" if last is None else f", the last recorded at {format_instant(last)}"
    return f"{audit.users:,} users, {audit.entries:,} entries{until}"


def _counts(audit: Audit) -> dict[str, Any]:
    return {
        "users": audit.users,
        "entries": audit.entries,
        "last_recorded_at": audit.last_recorded_at,
    }
